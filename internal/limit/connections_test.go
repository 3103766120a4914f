package limit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var silent = slog.New(slog.DiscardHandler)

// newLimitedServer starts a server that accepts the token "right", and returns its address.
func newLimitedServer(t *testing.T, c *Connections) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer right" {
			MarkAuthenticated(r.Context())
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	c.Attach(server.Config)
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

type client struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

// ask makes a request and reports whether it was answered.
func (c *client) ask(token string) bool {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n", token); err != nil {
		return false
	}
	answer, err := http.ReadResponse(c.in, nil)
	return err == nil && answer.StatusCode == http.StatusNoContent
}

// However many connections have no valid token, those with a valid token are kept and new ones are answered.
func TestUnauthenticatedConnectionsAreClosedFirst(t *testing.T) {
	t.Parallel()
	c := NewConnections(8, silent, nil)
	address := newLimitedServer(t, c)
	known := []*client{dial(t, address), dial(t, address), dial(t, address)}
	for _, one := range known {
		require.True(t, one.ask("right"))
	}
	for i := range 50 {
		stranger := dial(t, address)
		if i%2 == 0 {
			require.True(t, stranger.ask("wrong"))
		}
	}
	for _, one := range append(known, dial(t, address)) {
		require.True(t, one.ask("right"))
	}
	require.Eventually(t, func() bool { open, closed := c.Counts(); return open <= 8 && closed >= 46 }, time.Minute, time.Millisecond)
}

// If all connections had a valid token, the one with the oldest last request is closed for a new one.
func TestUnusedConnectionIsClosed(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1000, 0)
	c := NewConnections(3, silent, func() time.Time { return clock })
	var clients []net.Conn
	var contexts []context.Context
	var server http.Server
	c.Attach(&server)
	accept := func() {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = far.Close() })
		clients = append(clients, far)
		contexts = append(contexts, server.ConnContext(t.Context(), near))
		clock = clock.Add(time.Second)
		MarkAuthenticated(contexts[len(contexts)-1])
	}
	for range 3 {
		accept()
	}
	MarkAuthenticated(contexts[0])
	accept()
	require.Equal(t, []bool{true, false, true, true}, open(clients))
	number, closed := c.Counts()
	require.Equal(t, []int{3, 1}, []int{number, closed})
	MarkAuthenticated(contexts[1]) // a request that was running
	accept()
	require.Equal(t, []bool{true, false, false, true, true}, open(clients))
}

// Old unauthenticated connections use memory, so their number is limited even if there are enough file descriptors. New
// ones have time for a request.
func TestOldUnauthenticatedConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1000, 0)
	var said strings.Builder
	c := NewConnections(1<<20, slog.New(slog.NewTextHandler(&said, nil)), func() time.Time { return clock })
	var server http.Server
	c.Attach(&server)
	var clients, ends []net.Conn
	accept := func() {
		near, far := net.Pipe()
		clients, ends = append(clients, far), append(ends, near)
		server.ConnContext(t.Context(), near)
	}
	for range maxUnauthenticated + 10 {
		accept()
	}
	number, _ := c.Counts()
	require.Equal(t, maxUnauthenticated+10, number)
	require.Empty(t, said.String())
	clock = clock.Add(2 * firstRequestTime)
	accept()
	number, closed := c.Counts()
	require.Equal(t, []int{maxUnauthenticated, 11}, []int{number, closed})
	require.Equal(t, []bool{false, true}, open([]net.Conn{clients[10], clients[11]}))
	require.Equal(t, 1, strings.Count(said.String(), "there are too many connections"), "one warning per minute")
	server.ConnState(ends[20], http.StateClosed)
	server.ConnState(ends[0], http.StateClosed) // the connection was already removed
	number, _ = c.Counts()
	require.Equal(t, maxUnauthenticated-1, number)
}

// open reports which connections the server has not closed.
func open(clients []net.Conn) (are []bool) {
	for _, one := range clients {
		_ = one.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := one.Read(make([]byte, 1))
		are = append(are, errors.Is(err, os.ErrDeadlineExceeded))
	}
	return are
}

// tlsLikeConn is a connection that writes before it is closed, like a TLS connection.
type tlsLikeConn struct {
	net.Conn
	closed bool
}

func (s *tlsLikeConn) Close() error {
	s.closed = true
	return s.Conn.Close()
}

func (s *tlsLikeConn) NetConn() net.Conn { return s.Conn }

// A client that does not read the last bytes of a TLS connection cannot keep it open or delay others.
func TestTLSConnectionIsClosedAtOnce(t *testing.T) {
	t.Parallel()
	c := NewConnections(0, silent, nil) // the limit is at least 2
	var peers []net.Conn
	var all []*tlsLikeConn
	for range 3 {
		ours, theirs := net.Pipe()
		one := &tlsLikeConn{Conn: ours}
		c.accept(one)
		peers, all = append(peers, theirs), append(all, one)
	}
	_, err := peers[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.False(t, all[0].closed)
	open, closed := c.Counts()
	require.Equal(t, []int{2, 1}, []int{open, closed})
}
