package redistest

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartReplica runs a replica of a server, and waits until it has the server's data.
func StartReplica(t testing.TB, of *Server) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(of.Addr)
	client := of.Client(t)
	requireNoError(t, client.ConfigSet(context.Background(), "repl-diskless-sync-delay", "0").Err()) // so that the server does not wait for further replicas
	replica := Start(t, "--replicaof", host+" "+port)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if n, err := client.Wait(context.Background(), 1, time.Second).Result(); err == nil && n == 1 {
			return replica
		}
	}
	t.Fatal("redistest: the replica did not come up")
	return nil
}

// FailoverAddress is an address that leads to one server after another, like a host name that a failover moves.
type FailoverAddress struct {
	now atomic.Pointer[Server]
	t   testing.TB
}

// NewFailoverAddress returns an address that leads to a server at first.
func NewFailoverAddress(t testing.TB, server *Server) *FailoverAddress {
	s := &FailoverAddress{t: t}
	s.now.Store(server)
	return s
}

// Client returns a client that connects to the present server. It is closed when the test ends.
func (s *FailoverAddress) Client() *redis.Client {
	client := redis.NewClient(&redis.Options{Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.now.Load().Addr)
	}})
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Switch promotes a replica, and makes the former server its replica. Connections to the former server stay open.
func (s *FailoverAddress) Switch(replica *Server) {
	s.t.Helper()
	requireNoError(s.t, replica.Client(s.t).ReplicaOf(context.Background(), "NO", "ONE").Err())
	host, port, err := net.SplitHostPort(replica.Addr)
	requireNoError(s.t, err)
	requireNoError(s.t, s.now.Swap(replica).Client(s.t).ReplicaOf(context.Background(), host, port).Err())
}

// FailOver promotes a replica and stops the former server.
func (s *FailoverAddress) FailOver(replica *Server) {
	s.t.Helper()
	requireNoError(s.t, replica.Client(s.t).ReplicaOf(context.Background(), "NO", "ONE").Err())
	s.now.Swap(replica).Stop()
}
