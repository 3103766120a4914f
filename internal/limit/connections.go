package limit

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxStrangers = 1024        // connections that are strangers for longer than strangerTime
	strangerTime = time.Second // within which a client sends its first request
	warnInterval = time.Minute
)

// Connections bounds the open connections of a server, so that clients do not use up its files, and clients without a token do not use
// up its memory. If there are too many, it closes the oldest stranger: a connection without a request that had a right token. It never
// closes the newest connection: if that is the only stranger, it closes the connection with the oldest request. It is safe for
// concurrent use.
type Connections struct {
	most int
	log  *slog.Logger
	now  func() time.Time

	mu               sync.Mutex
	all              map[net.Conn]*connection
	strangers, known list.List // of *connection, in the order in which they are closed
	closed           int
	warned           time.Time
}

type connection struct {
	net.Conn
	connections *Connections
	since       time.Time
	used        atomic.Int64 // the second of the last request with a right token

	in    *list.List // strangers or known
	place *list.Element
}

// NewConnections returns the bound of one server, which is at least 2. A nil clock is time.Now.
func NewConnections(most int, log *slog.Logger, now func() time.Time) *Connections {
	if now == nil {
		now = time.Now
	}
	return &Connections{most: max(2, most), log: log, now: now, all: map[net.Conn]*connection{}}
}

// Watch sets hooks of a server that has not begun to serve.
func (c *Connections) Attach(server *http.Server) {
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, c.accept(conn))
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			c.forget(conn)
		}
	}
}

// Counts returns how many connections are open, and how many were closed because there were too many.
func (c *Connections) Counts() (open, closed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all), c.closed
}

type connectionKey struct{}

// Recognize notes that the request of a context has a right token.
func MarkAuthenticated(ctx context.Context) {
	if one, ok := ctx.Value(connectionKey{}).(*connection); ok {
		one.connections.recognize(one)
	}
}

func (c *Connections) recognize(one *connection) {
	second := c.now().Unix()
	if one.used.Swap(second) == second {
		return // its place is nearly the same
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.in != nil {
		one.put(&c.known)
	}
}

// put makes a connection the last one of a list, or of none. The mutex must be held.
func (one *connection) put(in *list.List) {
	if one.in != nil {
		one.in.Remove(one.place)
	}
	if one.in = in; in != nil {
		one.place = in.PushBack(one)
	}
}

func (c *Connections) accept(conn net.Conn) *connection {
	one := &connection{Conn: conn, connections: c, since: c.now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[conn] = one
	one.put(&c.strangers)
	for {
		excess := c.excess()
		if excess == nil {
			return one
		}
		c.close(excess)
	}
}

// excess returns a connection that is to be closed, or nil.
func (c *Connections) excess() *connection {
	stranger := c.strangers.Front().Value.(*connection) // there is the newest one at least
	switch {
	case len(c.all) > c.most && c.strangers.Len() == 1:
		return c.known.Front().Value.(*connection)
	case len(c.all) > c.most, c.strangers.Len() > maxStrangers && c.now().Sub(stranger.since) > strangerTime:
		return stranger
	}
	return nil
}

// close closes a connection. The goroutine that serves it fails to read, and ends.
func (c *Connections) close(one *connection) {
	c.drop(one)
	c.closed++
	conn := one.Conn
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn() // TLS would first write, and wait for that
	}
	_ = conn.Close()
	if now := c.now(); c.warned.IsZero() || now.Sub(c.warned) >= warnInterval {
		c.warned = now
		c.log.Warn("there are too many connections: those without a request that has a right token are closed first", "open", len(c.all), "closed", c.closed)
	}
}

func (c *Connections) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, ok := c.all[conn]; ok {
		c.drop(one)
	}
}

func (c *Connections) drop(one *connection) {
	delete(c.all, one.Conn)
	one.put(nil)
}
