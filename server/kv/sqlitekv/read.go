package sqlitekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// row is an entry without its value. The zero row stands for a missing entry.
type row struct {
	id, expires, size, blob int64
}

// live reports whether the entry exists for callers: an expired one does not, but its row may still be there.
func (c *conn) live(r *row) bool { return r.id != 0 && (r.expires == 0 || c.clock.now() < r.expires) }

// rowColumns are the columns that rowOf reads. SQLite knows the length of a value without reading it.
const rowColumns = "id, expires, size, blob, length(value)"

// maxID is greater than the id of any entry that a store made.
const maxID = math.MaxInt64 >> partBits

// maxReads is how often a value is read that is replaced each time.
const maxReads = 100

var (
	errRow      = fmt.Errorf("%w: an entry has impossible numbers", kv.ErrDamaged)
	errReplaced = fmt.Errorf("%w: the value was replaced again and again while it was read", kv.ErrUnavailable)
)

// rowOf returns the row of a statement that begins with rowColumns. It returns kv.ErrDamaged if the row has numbers that no
// write leaves there.
func rowOf(stmt *sqlite3.Stmt) (row, error) {
	r := row{stmt.ColumnInt64(0), stmt.ColumnInt64(1), stmt.ColumnInt64(2), stmt.ColumnInt64(3)}
	if r.id <= 0 || r.id > maxID || r.expires < 0 || r.size < 0 || r.size > kv.MaxValueSize || stmt.ColumnInt64(4) != min(r.size, chunkSize) {
		return row{}, errRow
	}
	if r.blob < 0 || r.blob > maxBlob || (r.blob != 0) != (r.size > chunkSize) {
		return row{}, errRow
	}
	return r, nil
}

// lookup finds the row of a key, expired or not.
func (c *conn) lookup(key string) (r row, err error) {
	for found, err := range c.Rows("SELECT "+rowColumns+" FROM entries WHERE key = ?", []byte(key)) {
		if err != nil {
			return r, err
		}
		if r, err = rowOf(found); err != nil {
			return r, err
		}
	}
	return r, nil
}

// read returns the first limit bytes of the value of a key, and its row. SQLite keeps what a row that is being read stands for, and
// the log with it, so the parts of a large value are read after it: they never change, and are missing if the value was replaced in the
// meantime.
func (c *conn) read(key string, limit int64) (begin []byte, r row, err error) {
	for range maxReads {
		former := r.blob
		if begin, r, err = c.first(key, limit); begin == nil || err != nil {
			return nil, r, err
		}
		if r.blob != 0 && r.blob == former {
			return nil, r, errPart
		}
		if begin, err = c.readParts(begin, &r, limit, math.MaxInt64); !errors.Is(err, errPart) {
			return begin, r, err
		}
	}
	return nil, r, errReplaced
}

// first returns what the first chunk of a value has of its first limit bytes.
func (c *conn) first(key string, limit int64) (begin []byte, r row, err error) {
	for found, err := range c.Rows("SELECT "+rowColumns+", value FROM entries WHERE key = ?", []byte(key)) {
		if err != nil {
			return nil, r, err
		}
		if r, err = rowOf(found); err != nil {
			return nil, r, err
		}
		if c.live(&r) {
			first := found.ColumnRawBlob(5)
			begin = append(make([]byte, 0, min(limit, r.size)), first[:min(limit, int64(len(first)))]...)
		}
	}
	return begin, r, nil
}

// entry returns an entry by its id, expired or not. All its numbers fit its parts.
func (c *conn) entry(id int64) (key string, r row, value []byte, err error) {
	for found, err := range c.Rows("SELECT "+rowColumns+", value, key FROM entries WHERE id = ?", id) {
		if err != nil {
			return "", r, nil, err
		}
		if r, err = rowOf(found); err != nil {
			return "", r, nil, err
		}
		value, key = found.ColumnBlob(5, []byte{}), string(found.ColumnRawBlob(6))
	}
	if err = c.checkParts(&r); err == nil {
		value, err = c.readParts(value, &r, r.size, math.MaxInt64)
	}
	return key, r, value, err
}

// equals reports whether the entry's value is old, by an earlier comparison if it was with the same blob.
func (c *conn) equals(key string, r *row, old []byte, known comparison) (bool, error) {
	if !c.live(r) || r.size != int64(len(old)) {
		return false, nil
	}
	if r.blob != 0 && r.blob == known.blob {
		return known.equal, nil
	}
	value, _, err := c.read(key, r.size)
	return err == nil && bytes.Equal(value, old), err
}

// read calls do with a connection that reads.
func (s *Store) read(ctx context.Context, op string, do func(c *conn) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.readTurn(ctx, op, do)
}

// readTurn is read for a call that entered: to enter again would block forever if Close waits for the call.
func (s *Store) readTurn(ctx context.Context, op string, do func(c *conn) error) error {
	c, err := take(ctx, s.readers)
	if err != nil {
		return err
	}
	defer func() { s.readers <- c }()
	if err := do(c); err != nil {
		return s.failure(op, err)
	}
	return nil
}

// turnParts is how many parts of a value a connection reads before others get it.
const turnParts = 4

// Read implements kv.Store. It reads a large value in turns, so that reads of small ones do not wait for it.
func (s *Store) Read(ctx context.Context, keys []string, limit int) (found []kv.ReadResult, err error) {
	all := make([]kv.ReadResult, len(keys))
	large := map[int]*row(nil) // of which parts are still to be read
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.readTurn(ctx, "read", func(c *conn) error {
		for i, key := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			begin, r, err := c.first(key, int64(limit))
			if err != nil {
				return err
			}
			if all[i] = sized(begin, &r, int64(limit)); int64(len(begin)) < min(int64(limit), r.size) && begin != nil {
				if large == nil {
					large = map[int]*row{}
				}
				all[i].Prefix, large[i] = begin, &r
			}
		}
		return nil
	})
	for i, r := range large {
		if err == nil {
			all[i], err = s.readRest(ctx, keys[i], all[i].Prefix, *r, int64(limit))
		}
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// sized returns the answer for the first bytes of a value, up to the limit. They are nil if the key is missing.
func sized(begin []byte, r *row, limit int64) kv.ReadResult {
	switch {
	case begin == nil:
		return kv.ReadResult{}
	case r.size <= limit:
		return kv.ReadResult{Value: begin, Size: int(r.size)}
	}
	return kv.ReadResult{Prefix: begin, Size: int(r.size)}
}

// readRest reads the parts of a value of which the first chunk was read. It is conn.read in turns.
func (s *Store) readRest(ctx context.Context, key string, begin []byte, r row, limit int64) (found kv.ReadResult, err error) {
	turn := func(do func(c *conn)) error {
		return s.readTurn(ctx, "read", func(c *conn) error { do(c); return ctx.Err() })
	}
	for range maxReads {
		for err == nil && int64(len(begin)) < min(limit, r.size) {
			if failed := turn(func(c *conn) { begin, err = c.readParts(begin, &r, limit, turnParts) }); failed != nil {
				return found, failed
			}
		}
		if err == nil {
			return sized(begin, &r, limit), nil
		}
		former := r.blob
		if !errors.Is(err, errPart) {
			return found, s.failure("read", err)
		}
		if failed := turn(func(c *conn) { begin, r, err = c.first(key, limit) }); failed != nil {
			return found, failed
		}
		if begin == nil && err == nil {
			return found, nil
		}
		if err == nil && r.blob != 0 && r.blob == former {
			return found, s.failure("read", errPart)
		}
	}
	return found, s.failure("read", errReplaced)
}

// TTL implements kv.Store.
func (s *Store) TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error) {
	err = s.read(ctx, "ttl", func(c *conn) error {
		r, err := c.lookup(key)
		if ok = err == nil && c.live(&r); ok && r.expires != 0 {
			left = c.clock.until(r.expires)
		}
		return err
	})
	return left, ok, err
}
