package redistest

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartReplica runs a replica of a server, and waits until it has what the server has.
func StartReplica(t testing.TB, of *Server) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(of.Addr)
	client := of.Client(t)
	must(t, client.ConfigSet(context.Background(), "repl-diskless-sync-delay", "0").Err()) // no other replica is waited for
	replica := Start(t, "--replicaof", host+" "+port)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if n, err := client.Wait(context.Background(), 1, time.Second).Result(); err == nil && n == 1 {
			return replica
		}
	}
	t.Fatal("redistest: the replica did not come up")
	return nil
}

// Service is one address at which one server answers after another, as behind a name that a failover moves.
type FailoverAddress struct {
	now atomic.Pointer[Server]
	t   testing.TB
}

// NewService makes the address of a server.
func NewFailoverAddress(t testing.TB, server *Server) *FailoverAddress {
	s := &FailoverAddress{t: t}
	s.now.Store(server)
	return s
}

// Client gives a client of whichever server answers.
func (s *FailoverAddress) Client() *redis.Client {
	client := redis.NewClient(&redis.Options{Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.now.Load().Addr)
	}})
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Switch has a replica take over, and makes the server of before its replica. Connections to that stay open.
func (s *FailoverAddress) Switch(replica *Server) {
	s.t.Helper()
	must(s.t, replica.Client(s.t).ReplicaOf(context.Background(), "NO", "ONE").Err())
	host, port, err := net.SplitHostPort(replica.Addr)
	must(s.t, err)
	must(s.t, s.now.Swap(replica).Client(s.t).ReplicaOf(context.Background(), host, port).Err())
}

// FailOver has a replica take over, and ends the server of before.
func (s *FailoverAddress) FailOver(replica *Server) {
	s.t.Helper()
	must(s.t, replica.Client(s.t).ReplicaOf(context.Background(), "NO", "ONE").Err())
	s.now.Swap(replica).Stop()
}
