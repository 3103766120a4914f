package api

import (
	"io"
	"net/http"
)

const (
	// small is what a request may hold without being counted: as many connections as there may be hold little of it.
	small = 64 << 10
	// piece is how much of a large body is read and counted at a time, so that one that is announced and does not come holds nothing.
	piece = 1 << 20
)

// hold counts n bytes that the request keeps in memory until it ends, or returns a limit.Refusal.
func (s *server) hold(c *call, n int) error {
	if n <= small {
		return nil
	}
	if err := s.memory.Take(c.id.Tenant, int64(n)); err != nil {
		return s.refuse(c, err)
	}
	c.held += int64(n)
	return nil
}

// release gives back all that a request held.
func (s *server) release(c *call) {
	if c.held > 0 {
		s.memory.Give(c.id.Tenant, c.held)
		c.held = 0
	}
}

// readLarge reads a body of n bytes, or of unknown size where n is negative, and counts it as it comes.
func (s *server) readLarge(c *call, body io.Reader, n int64) ([]byte, error) {
	var pieces [][]byte
	total := 0
	for n < 0 || int64(total) < n {
		size := min(max(total, small), piece)
		if n >= 0 {
			size = int(min(int64(size), n-int64(total)))
		}
		if err := s.hold(c, size); err != nil {
			return nil, err
		}
		next := make([]byte, size)
		got, err := io.ReadFull(body, next)
		pieces, total = append(pieces, next[:got]), total+got
		if n < 0 && (err == io.EOF || err == io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(pieces) == 1 {
		return pieces[0], nil
	}
	value := make([]byte, 0, total)
	for i, p := range pieces {
		value, pieces[i] = append(value, p...), nil
	}
	return value, nil
}

// bounded is the body, of which no more than the limit is read.
func (s *server) bounded(c *call) io.Reader {
	return http.MaxBytesReader(c.Response().Writer, c.Request().Body, s.maxBody)
}
