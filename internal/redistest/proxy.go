package redistest

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy forwards connections to a server and loses replies: the server executes a command, and the connection
// breaks before the reply arrives.
type Proxy struct {
	Addr string

	t    testing.TB
	to   string
	mu   sync.Mutex
	lose map[string]int
	lost int
	all  map[net.Conn]bool
}

// NewProxy runs a proxy until the test ends.
func NewProxy(t testing.TB, server *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &Proxy{Addr: l.Addr().String(), t: t, to: server.Addr, lose: map[string]int{}, all: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.all {
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

// URL names the proxy, for a client with Patience.
func (p *Proxy) URL() string { return strings.Replace((&Server{Addr: p.Addr}).URL(), "?", "/0?", 1) }

// Lose loses the replies to the next n commands of a name, such as "evalsha".
func (p *Proxy) LoseReplies(command string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose[command] = n
}

// Lost returns how many replies were lost, and plans no more losses.
func (p *Proxy) TakeLost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.lost
	p.lost = 0
	clear(p.lose)
	return n
}

// serve forwards what fits into one read as one request, and its reply.
func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.all[client], p.all[server] = true, true
	p.mu.Unlock()
	var lose sync.Map // of this connection
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
		if p.loses(b[:n]) {
			lose.Store("next", true)
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// loses reports whether the reply to a request is to be lost.
func (p *Proxy) loses(request []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for command, n := range p.lose {
		if n > 0 && bytes.Contains(bytes.ToLower(request), []byte("\r\n"+command+"\r\n")) {
			p.lose[command]--
			p.lost++
			return true
		}
	}
	return false
}
