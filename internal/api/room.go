package api

import "sync"

const (
	tiny       = 16 << 10 // what is smaller is cheaper to allocate than to clear
	roomAround = 1 << 10  // that a package takes around most values
)

// rooms are the memory of values and packages from one request to the next: to allocate it anew costs more
// than the cryptography does.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// room gives an empty slice of capacity n at least, which the request has until it ends, and nothing may keep
// beyond that; nil where n is better allocated.
func (c *call) room(n int) []byte {
	if n < tiny || n > small+roomAround {
		return nil
	}
	r := rooms.Get().(*[]byte)
	if cap(*r) < n {
		*r = make([]byte, 0, n)
	}
	c.rooms = append(c.rooms, r)
	return *r
}

// leave gives back all rooms but the first n, cleared: no value is to lie where another request reads.
func (c *call) leave(n int) {
	for _, r := range c.rooms[n:] {
		clear((*r)[:cap(*r)])
		rooms.Put(r)
	}
	clear(c.rooms[n:])
	c.rooms = c.rooms[:n]
}
