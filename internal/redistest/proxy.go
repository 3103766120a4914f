package redistest

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy forwards connections to a server and loses replies on request: the server executes a command, and the
// connection breaks before the reply arrives.
type Proxy struct {
	Addr string

	t      testing.TB
	to     string
	mu     sync.Mutex
	losses map[string]int
	lost   int
	conns  map[net.Conn]bool
}

// NewProxy starts a proxy that runs until the test ends.
func NewProxy(t testing.TB, server *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	requireNoError(t, err)
	p := &Proxy{Addr: l.Addr().String(), t: t, to: server.Addr, losses: map[string]int{}, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.conns {
			_ = c.Close()
		}
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// URL returns the Redis URL of the proxy, with ClientTimeout.
func (p *Proxy) URL() string { return strings.Replace((&Server{Addr: p.Addr}).URL(), "?", "/0?", 1) }

// LoseReplies loses the replies to the next n commands with a name such as "evalsha".
func (p *Proxy) LoseReplies(command string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losses[command] = n
}

// TakeLost returns the number of replies lost since the last call, and cancels further losses.
func (p *Proxy) TakeLost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.lost
	p.lost = 0
	clear(p.losses)
	return n
}

// serve forwards a connection. It treats the data of one read as one request.
func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var lose sync.Map // for this connection
	go func() {
		defer client.Close()
		for b := make([]byte, 64<<10); ; {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			if _, yes := lose.Load("next"); yes {
				return
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	defer server.Close()
	for b := make([]byte, 64<<10); ; {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if p.shouldLose(b[:n]) {
			lose.Store("next", true)
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// shouldLose reports whether the reply to a request should be lost, and counts the loss.
func (p *Proxy) shouldLose(request []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for command, n := range p.losses {
		if n > 0 && bytes.Contains(bytes.ToLower(request), []byte("\r\n"+command+"\r\n")) {
			p.losses[command]--
			p.lost++
			return true
		}
	}
	return false
}
