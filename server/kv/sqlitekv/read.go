package sqlitekv

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// row is an entry without its value. The zero row stands for a missing entry.
type row struct {
	id, expires, size int64
}

// live reports whether the entry exists for callers: an expired one does not, but its row may still be there.
func (r *row) live() bool { return r.id != 0 && (r.expires == 0 || now() < r.expires) }

func rowOf(stmt *sqlite3.Stmt) row {
	return row{stmt.ColumnInt64(0), stmt.ColumnInt64(1), stmt.ColumnInt64(2)}
}

// lookup finds the row of a key, expired or not.
func (c *conn) lookup(key string) (r row, err error) {
	for found, err := range c.Rows("SELECT id, expires, size FROM entries WHERE key = ?", []byte(key)) {
		if err != nil {
			return r, err
		}
		r = rowOf(found)
	}
	return r, nil
}

// read returns the first limit bytes of the value of a key, and its row.
func (c *conn) read(key string, limit int64) (begin []byte, r row, err error) {
	for found, err := range c.Rows("SELECT id, expires, size, value FROM entries WHERE key = ?", []byte(key)) {
		if err != nil {
			return nil, r, err
		}
		if r = rowOf(found); r.live() {
			first := found.ColumnRawBlob(3)
			begin = append(make([]byte, 0, min(limit, r.size)), first[:min(limit, int64(len(first)))]...)
		}
	}
	if !r.live() {
		return nil, r, nil
	}
	for n := int64(1); int64(len(begin)) < min(limit, r.size); n++ {
		if begin, err = c.readPart(begin, r.id<<partBits|n, limit); err != nil {
			return nil, r, err
		}
	}
	return begin, r, nil
}

// readPart appends a part of a value, up to the limit.
func (c *conn) readPart(begin []byte, id, limit int64) ([]byte, error) {
	for found, err := range c.Rows("SELECT value FROM parts WHERE id = ?", id) {
		if err != nil {
			return nil, err
		}
		if part := found.ColumnRawBlob(0); len(part) > 0 {
			return append(begin, part[:min(limit-int64(len(begin)), int64(len(part)))]...), nil
		}
	}
	return nil, fmt.Errorf("%w: a part of a value is missing or empty", kv.ErrDamaged)
}

// equals reports whether the entry's value is old.
func (c *conn) equals(key string, r *row, old []byte) (bool, error) {
	if !r.live() || r.size != int64(len(old)) {
		return false, nil
	}
	value, _, err := c.read(key, r.size)
	return err == nil && bytes.Equal(value, old), err
}

// Read implements kv.Store.
func (s *Store) Read(ctx context.Context, keys []string, limit int) ([]kv.Sized, error) {
	c, err := s.take(ctx, s.readers)
	if err != nil {
		return nil, err
	}
	defer s.give(s.readers, c)
	found := make([]kv.Sized, len(keys))
	for i, key := range keys {
		if err := ctx.Err(); err != nil {
			return nil, s.failure("read", err)
		}
		begin, r, err := c.read(key, int64(limit))
		switch {
		case err != nil:
			return nil, s.failure("read", err)
		case !r.live() || begin == nil:
		case r.size <= int64(limit):
			found[i] = kv.Sized{Value: begin, Size: int(r.size)}
		default:
			found[i] = kv.Sized{Begin: begin, Size: int(r.size)}
		}
	}
	return found, nil
}

// TTL implements kv.Store.
func (s *Store) TTL(ctx context.Context, key string) (time.Duration, bool, error) {
	c, err := s.take(ctx, s.readers)
	if err != nil {
		return 0, false, err
	}
	defer s.give(s.readers, c)
	r, err := c.lookup(key)
	switch {
	case err != nil:
		return 0, false, s.failure("ttl", err)
	case !r.live():
		return 0, false, nil
	case r.expires == 0:
		return 0, true, nil
	}
	return max(time.Until(time.UnixMilli(r.expires)), time.Millisecond), true, nil
}
