package api

import (
	"context"
	"io"
	"net/http"
	"slices"

	"github.com/coffer-storage/coffer/server/kv"
)

const (
	// small is what a request may hold without being counted, all its parts together: as many connections as
	// there may be hold little of it.
	small = 128 << 10
	// copies of a value are in memory at the same time: itself and its package.
	copies = 2
	// jsonCopies of what is sealed to, or opened from, JSON are: the text, and that once more as bytes,
	// sealed and as JSON again.
	jsonCopies = 4
)

// hold counts n bytes that the request keeps in memory until it ends or undoes that, or returns a limit.Refusal.
func (s *server) hold(c *call, n int) error {
	if n <= c.free {
		c.free -= n
		return nil
	}
	if err := s.memory.Reserve(c.id.Tenant, int64(n)); err != nil {
		return s.refuse(c, err)
	}
	c.held += int64(n)
	return nil
}

// borrow counts n bytes for the one of a batch that is worked on, in the place of those for the one before
// it, or returns a limit.Refusal.
func (s *server) borrow(c *call, n int) error {
	if c.borrowed > 0 {
		s.memory.Release(c.id.Tenant, c.borrowed)
		c.borrowed = 0
	}
	if n <= c.free {
		return nil
	}
	if err := s.memory.Reserve(c.id.Tenant, int64(n)); err != nil {
		return s.refuse(c, err)
	}
	c.borrowed = int64(n)
	return nil
}

// holding is what a request holds at a moment.
type holding struct {
	free  int
	held  int64
	rooms int
}

func (c *call) holding() holding { return holding{c.free, c.held, len(c.rooms)} }

// undo gives back what a request took since a moment: the one of a batch that it was for is not answered.
func (s *server) undo(c *call, since holding) {
	c.leave(since.rooms)
	if n := c.held - since.held; n > 0 {
		s.memory.Release(c.id.Tenant, n)
	}
	c.free, c.held = since.free, since.held
}

// release gives back all that a request held.
func (s *server) release(c *call) {
	c.leave(0)
	if n := c.held + c.borrowed; n > 0 {
		s.memory.Release(c.id.Tenant, n)
		c.held, c.borrowed = 0, 0
	}
}

// bounded is a store whose values count, for a batch keeps many of them, and whose large ones are read once
// there is room for them. The request's context brings whoever counts.
type bounded struct{ kv.Store }

// callKey is the key of a context's call.
type callKey struct{}

// read counts a value that is read from the store, and the bytes that it takes in memory.
func (c *call) read(size, held int) error {
	err := c.server.hold(c, held)
	if err == nil {
		c.server.charge(c, size/chargedBytes)
	}
	return err
}

// Read implements kv.Store. A read without a limit, or with a large one, is made with a small one first.
func (b bounded) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	found, err := b.Store.Read(ctx, keys, min(limit, small))
	if err != nil || limit <= small {
		return found, err
	}
	for i := range found {
		if err := b.take(ctx, keys[i:i+1], &found[i], limit); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// take counts a value that was found, and reads it if only its beginning was, once there is room for it.
func (b bounded) take(ctx context.Context, key []string, found *kv.ReadResult, limit int) error {
	c, _ := ctx.Value(callKey{}).(*call)
	for found.Exists() {
		if found.Size > kv.MaxValueSize { // no server wrote it, and it does not open: it takes no memory
			*found = kv.ReadResult{Value: []byte{0}, Size: 1}
		}
		held, unread := found.Size, found.Value == nil && found.Size <= limit
		if unread {
			held *= copies
		}
		if c != nil {
			if err := c.read(found.Size, held); err != nil {
				return err
			}
		}
		if !unread {
			return nil
		}
		whole, err := b.Store.Read(ctx, key, found.Size)
		if err != nil {
			return err
		}
		if *found = whole[0]; found.Value != nil {
			return nil
		}
		// a longer one took its place, for which there may be no room
	}
	return nil
}

// readLarge reads a body of n bytes, more than is small. Room for all of it is taken at once, so that of many
// uploads some come through, but not before its beginning has come: one that is announced and does not come
// holds nothing.
func (s *server) readLarge(c *call, body io.Reader, n int) ([]byte, error) {
	begin := make([]byte, small)
	if _, err := io.ReadFull(body, begin); err != nil {
		return nil, err
	}
	if err := s.hold(c, copies*n); err != nil {
		return nil, err
	}
	s.charge(c, n/chargedBytes)
	value := make([]byte, n)
	_, err := io.ReadFull(body, value[copy(value, begin):])
	return value, err
}

// readUnknown reads a body whose size was not told, and takes room as it comes.
func (s *server) readUnknown(c *call, body io.Reader) ([]byte, error) {
	value := make([]byte, 0, small)
	for {
		n, err := body.Read(value[len(value):cap(value)])
		value = value[:len(value)+n]
		if err == io.EOF {
			s.charge(c, len(value)/chargedBytes)
			return value, nil
		}
		if err != nil {
			return nil, err
		}
		if len(value) == cap(value) {
			if err := s.hold(c, copies*len(value)); err != nil {
				return nil, err
			}
			value = slices.Grow(value, len(value))
		}
	}
}

// limited is the body, of which no more than the limit is read.
func (s *server) limited(c *call) io.Reader {
	c.reading = true
	return http.MaxBytesReader(c.Response().Writer, c.Request().Body, s.maxBody)
}
