// Package redistest runs a real redis-server for tests: on a free loopback port, in a temporary
// directory, without persistence, ended through its own process handle when the test ends. It never
// skips: a machine without redis-server fails the test and says what to install.
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
	firstPort    = 16_000 // of those that FreeAddr gives
	ports        = 16_000
)

// Patience is for how long clients wait that are to hear an answer, however slow the machine is.
const ClientTimeout = 10 * time.Minute

// Server is one running redis-server.
type Server struct {
	Addr string // host:port, the same after Restart

	t        testing.TB
	args     []string
	dir      string
	password string
	cmd      *exec.Cmd
	exited   chan struct{}
	output   bytes.Buffer
}

// Start runs redis-server, with further arguments such as "--maxmemory", "8mb", and waits until it answers.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, args: args, dir: t.TempDir()}
	t.Cleanup(s.Stop)
	for range startTries {
		s.Addr = FreeAddr(t)
		if s.run() {
			return s
		}
	}
	t.Fatalf("redistest: redis-server did not start; its output:\n%s", s.output.String())
	return nil
}

// Stop ends the server; clients see refused connections. It does nothing when the server is stopped.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // also ends a frozen server, and there is no data to save
	<-s.exited
	s.cmd = nil
}

// Restart stops the server if it runs and starts an empty one at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if !s.run() {
		s.t.Fatalf("redistest: redis-server did not restart; its output:\n%s", s.output.String())
	}
}

// Freeze stops the process where it is: connections stay open and nobody answers. Thaw lets it run on.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

// SetPassword makes the running server demand password from now on; it holds after Restart too.
func (s *Server) SetPassword(password string) {
	s.t.Helper()
	client := s.admin()
	defer client.Close()
	if err := client.ConfigSet(context.Background(), "requirepass", password).Err(); err != nil {
		s.t.Fatalf("redistest: set the password: %v", err)
	}
	s.password = password
}

// URL names the server, for a client with Patience.
func (s *Server) URL() string {
	return "redis://" + s.Addr + "?read_timeout=" + ClientTimeout.String() + "&write_timeout=" + ClientTimeout.String()
}

// Client gives a plain client of the server, closed when the test ends.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	client := s.admin()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *Server) admin() *redis.Client {
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

// run starts the process at s.Addr and reports whether it came to answer.
func (s *Server) run() bool {
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
	return s.answers()
}

// answers waits for a PONG of this very process, not of another that holds the port.
func (s *Server) answers() bool {
	client := s.admin()
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

// FreeAddr gives an address that nobody listens at, and that no connection to elsewhere takes: its port is
// below those that systems give out.
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
