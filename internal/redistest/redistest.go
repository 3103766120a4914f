// Package redistest runs a real redis-server for tests. The server listens on a free loopback port, stores its files in
// a temporary directory, persists nothing, and ends with the test. If redis-server is not installed, the test fails
// with an explanation.
package redistest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/internal/proctest"
)

const (
	startTimeout = 5 * time.Minute
	startTries   = 5      // another process may take the free port before redis-server does
	firstPort    = 16_000 // first port that FreeAddr returns
	ports        = 16_000
)

// ClientTimeout is the read and write time-out of clients that should wait for a reply even on a slow machine.
const ClientTimeout = 10 * time.Minute

// Server is a running redis-server.
type Server struct {
	Addr string // host:port; Restart keeps it

	t        testing.TB
	args     []string
	dir      string
	password string
	cmd      *exec.Cmd
	exited   chan struct{}
	output   bytes.Buffer
}

// Start runs redis-server until the test ends, with further arguments such as "--maxmemory", "8mb". It waits until the
// server is ready.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, args: args, dir: t.TempDir()}
	t.Cleanup(s.Stop)
	for range startTries {
		s.Addr = FreeAddr(t)
		if s.startProcess() {
			return s
		}
	}
	t.Fatalf("redistest: redis-server did not start; its output:\n%s", s.output.String())
	return nil
}

// Stop kills the server, so that clients get refused connections. It does nothing if the server is stopped.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // SIGKILL also ends a frozen server, which has no data to save
	<-s.exited
	s.cmd = nil
}

// Restart stops the server if it runs, and starts an empty one at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if !s.startProcess() {
		s.t.Fatalf("redistest: redis-server did not restart; its output:\n%s", s.output.String())
	}
}

// Freeze suspends the server: connections stay open, but it does not respond until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw resumes a server after Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

// SetPassword makes the server require a password from now on, also after Restart.
func (s *Server) SetPassword(password string) {
	s.t.Helper()
	client := s.newClient()
	defer client.Close()
	if err := client.ConfigSet(context.Background(), "requirepass", password).Err(); err != nil {
		s.t.Fatalf("redistest: set the password: %v", err)
	}
	s.password = password
}

// URL returns the Redis URL of the server, with ClientTimeout.
func (s *Server) URL() string {
	return "redis://" + s.Addr + "?read_timeout=" + ClientTimeout.String() + "&write_timeout=" + ClientTimeout.String()
}

// Client returns a client of the server, which is closed when the test ends.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	client := s.newClient()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *Server) newClient() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: s.Addr, Password: s.password, MaxRetries: -1, DialerRetries: 1, ReadTimeout: ClientTimeout, WriteTimeout: ClientTimeout,
	})
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("redistest: signal redis-server: %v", err)
	}
}

// startProcess starts the process at s.Addr and reports whether it became ready.
func (s *Server) startProcess() bool {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("redistest: redis-server is not installed; on Debian: apt-get install redis-server")
	}
	_, port, _ := net.SplitHostPort(s.Addr)
	args := []string{"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no"}
	if s.password != "" {
		args = append(args, "--requirepass", s.password)
	}
	s.output.Reset()
	s.cmd = exec.Command(path, append(args, s.args...)...)
	proctest.Bind(s.cmd)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redistest: start redis-server: %v", err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	return s.waitUntilReady()
}

// waitUntilReady waits for a reply of this process, and does not accept one of another process at the same port.
func (s *Server) waitUntilReady() bool {
	client := s.newClient()
	defer client.Close()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			s.cmd = nil
			return false
		case <-time.After(10 * time.Millisecond):
		}
		info, err := client.InfoMap(context.Background(), "server").Result()
		if err == nil && info["Server"]["process_id"] == strconv.Itoa(s.cmd.Process.Pid) {
			return true
		}
	}
	s.Stop()
	return false
}

// FreeAddr returns an address with a port that is not in use. The port is below the range from which systems assign
// ports to outgoing connections.
func FreeAddr(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(ports)))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatalf("redistest: find a free port: %v", err)
	return ""
}
