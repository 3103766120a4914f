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
	maxUnauthenticated = 1024        // unauthenticated connections that may be older than firstRequestTime
	firstRequestTime   = time.Second // time in which a client should send its first request
	warnInterval       = time.Minute
)

// Connections limits the open connections of a server, so that clients cannot use up its file descriptors, and clients
// without a valid token cannot use up its memory. If there are too many connections, it closes the oldest
// unauthenticated one: no request on it had a valid token. If only the newest connection is unauthenticated, it closes
// the one whose last request is the oldest. It never closes the newest connection. It is safe for concurrent use.
type Connections struct {
	max int
	log *slog.Logger
	now func() time.Time

	mu                             sync.Mutex
	all                            map[net.Conn]*connection
	unauthenticated, authenticated list.List // of *connection, in the order in which they are closed
	closed                         int
	warned                         time.Time
}

type connection struct {
	net.Conn
	connections *Connections
	acceptedAt  time.Time
	lastRequest atomic.Int64 // second of the last request with a valid token

	list    *list.List // unauthenticated or authenticated
	element *list.Element
}

// NewConnections returns a limit of at least 2 connections for one server. A nil now means time.Now.
func NewConnections(limit int, log *slog.Logger, now func() time.Time) *Connections {
	if now == nil {
		now = time.Now
	}
	return &Connections{max: max(2, limit), log: log, now: now, all: map[net.Conn]*connection{}}
}

// Attach sets hooks of a server. It must be called before the server starts.
func (c *Connections) Attach(server *http.Server) {
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, c.accept(conn))
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			c.remove(conn)
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

// MarkAuthenticated marks the connection of a request's context as authenticated: the request had a valid token.
func MarkAuthenticated(ctx context.Context) {
	if one, ok := ctx.Value(connectionKey{}).(*connection); ok {
		one.connections.markAuthenticated(one)
	}
}

func (c *Connections) markAuthenticated(one *connection) {
	second := c.now().Unix()
	if one.lastRequest.Swap(second) == second {
		return // the order would hardly change
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.list != nil {
		one.moveTo(&c.authenticated)
	}
}

// moveTo moves a connection to the end of a list. A nil list removes it from its list. c.mu must be held.
func (one *connection) moveTo(in *list.List) {
	if one.list != nil {
		one.list.Remove(one.element)
	}
	if one.list = in; in != nil {
		one.element = in.PushBack(one)
	}
}

func (c *Connections) accept(conn net.Conn) *connection {
	one := &connection{Conn: conn, connections: c, acceptedAt: c.now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[conn] = one
	one.moveTo(&c.unauthenticated)
	for {
		excess := c.selectExcess()
		if excess == nil {
			return one
		}
		c.closeLocked(excess)
	}
}

// selectExcess returns a connection to close, or nil. c.mu must be held.
func (c *Connections) selectExcess() *connection {
	oldest := c.unauthenticated.Front().Value.(*connection) // exists: the newest connection is in the list
	switch {
	case len(c.all) > c.max && c.unauthenticated.Len() == 1:
		return c.authenticated.Front().Value.(*connection)
	case len(c.all) > c.max, c.unauthenticated.Len() > maxUnauthenticated && c.now().Sub(oldest.acceptedAt) > firstRequestTime:
		return oldest
	}
	return nil
}

// closeLocked closes a connection. The goroutine that serves it gets a read error and ends.
func (c *Connections) closeLocked(one *connection) {
	c.dropLocked(one)
	c.closed++
	conn := one.Conn
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn() // closing the TLS connection would write first, and could block
	}
	_ = conn.Close()
	if now := c.now(); c.warned.IsZero() || now.Sub(c.warned) >= warnInterval {
		c.warned = now
		c.log.Warn("there are too many connections: those without a valid token are closed first", "open", len(c.all), "closed", c.closed)
	}
}

func (c *Connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, ok := c.all[conn]; ok {
		c.dropLocked(one)
	}
}

func (c *Connections) dropLocked(one *connection) {
	delete(c.all, one.Conn)
	one.moveTo(nil)
}
