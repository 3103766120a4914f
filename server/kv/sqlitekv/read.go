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

// isLive reports whether an entry exists and has not expired. The row of an expired entry stays until maintenance
// removes it.
func (c *conn) isLive(r *row) bool { return r.id != 0 && (r.expires == 0 || c.clock.now() < r.expires) }

// rowColumns are the columns that readRow reads. SQLite computes the length of a value without reading it.
const rowColumns = "id, expires, size, blob, length(value)"

// maxID is larger than the id of any entry that a store creates.
const maxID = math.MaxInt64 >> partBits

// maxReads is how often Read retries if a value is replaced during each attempt.
const maxReads = 100

var (
	errRow      = fmt.Errorf("%w: an entry has impossible numbers", kv.ErrDamaged)
	errReplaced = fmt.Errorf("%w: the value was replaced during every attempt to read it", kv.ErrUnavailable)
)

// readRow reads a row from a query whose first columns are rowColumns. It returns kv.ErrDamaged for numbers that no
// write stores.
func readRow(stmt *sqlite3.Stmt) (row, error) {
	r := row{stmt.ColumnInt64(0), stmt.ColumnInt64(1), stmt.ColumnInt64(2), stmt.ColumnInt64(3)}
	if r.id <= 0 || r.id > maxID || r.expires < 0 || r.size < 0 || r.size > kv.MaxValueSize || stmt.ColumnInt64(4) != min(r.size, chunkSize) {
		return row{}, errRow
	}
	if r.blob < 0 || r.blob > maxBlob || (r.blob != 0) != (r.size > chunkSize) {
		return row{}, errRow
	}
	return r, nil
}

// lookup returns the row of a key, whether or not it has expired.
func (c *conn) lookup(key string) (r row, err error) {
	for stmt, err := range c.Rows("SELECT "+rowColumns+" FROM entries WHERE key = ?", []byte(key)) {
		if err != nil {
			return r, err
		}
		if r, err = readRow(stmt); err != nil {
			return r, err
		}
	}
	return r, nil
}

// readValue returns the first limit bytes of a value, and its row. It closes the query for the row before it reads the
// parts, because an open query keeps SQLite from moving the log. The parts never change, and are missing if the value
// was replaced in the meantime; then it starts again.
func (c *conn) readValue(key string, limit int64) (prefix []byte, r row, err error) {
	for range maxReads {
		formerBlob := r.blob
		if prefix, r, err = c.readFirstChunk(key, limit); prefix == nil || err != nil {
			return nil, r, err
		}
		if r.blob != 0 && r.blob == formerBlob {
			return nil, r, errPart
		}
		if prefix, err = c.readParts(prefix, &r, limit, math.MaxInt64); !errors.Is(err, errPart) {
			return prefix, r, err
		}
	}
	return nil, r, errReplaced
}

// readFirstChunk returns the bytes of a value's first chunk that are within limit. They are nil if the entry does not
// exist.
func (c *conn) readFirstChunk(key string, limit int64) (prefix []byte, r row, err error) {
	for stmt, err := range c.Rows("SELECT "+rowColumns+", value FROM entries WHERE key = ?", []byte(key)) {
		if err != nil {
			return nil, r, err
		}
		if r, err = readRow(stmt); err != nil {
			return nil, r, err
		}
		if c.isLive(&r) {
			chunk := stmt.ColumnRawBlob(5)
			prefix = append(make([]byte, 0, min(limit, r.size)), chunk[:min(limit, int64(len(chunk)))]...)
		}
	}
	return prefix, r, nil
}

// readEntry returns an entry by its id, whether or not it has expired. It returns kv.ErrDamaged if the numbers of the
// entry do not match its parts.
func (c *conn) readEntry(id int64) (key string, r row, value []byte, err error) {
	for stmt, err := range c.Rows("SELECT "+rowColumns+", value, key FROM entries WHERE id = ?", id) {
		if err != nil {
			return "", r, nil, err
		}
		if r, err = readRow(stmt); err != nil {
			return "", r, nil, err
		}
		value, key = stmt.ColumnBlob(5, []byte{}), string(stmt.ColumnRawBlob(6))
	}
	if err = c.checkParts(&r); err == nil {
		value, err = c.readParts(value, &r, r.size, math.MaxInt64)
	}
	return key, r, value, err
}

// equals reports whether the value of an entry equals old. It uses the earlier comparison if that was with the same
// blob.
func (c *conn) equals(key string, r *row, old []byte, known comparison) (bool, error) {
	if !c.isLive(r) || r.size != int64(len(old)) {
		return false, nil
	}
	if r.blob != 0 && r.blob == known.blob {
		return known.equal, nil
	}
	value, _, err := c.readValue(key, r.size)
	return err == nil && bytes.Equal(value, old), err
}

// withReader calls do with a connection for reading.
func (s *Store) withReader(ctx context.Context, op string, do func(c *conn) error) error {
	if err := s.beginCall(); err != nil {
		return err
	}
	defer s.endCall()
	return s.withReaderInCall(ctx, op, do)
}

// withReaderInCall is withReader within beginCall and endCall. A nested beginCall would block forever if Close is
// waiting.
func (s *Store) withReaderInCall(ctx context.Context, op string, do func(c *conn) error) error {
	c, err := takeConn(ctx, s.readers)
	if err != nil {
		return err
	}
	defer func() { s.readers <- c }()
	if err := do(c); err != nil {
		return s.mapError(op, err)
	}
	return nil
}

// partsPerTurn is how many parts a caller reads before it returns the connection to the pool.
const partsPerTurn = 4

// Read implements kv.Store. It reads a large value a few parts at a time, so that reads of small values do not wait for
// it.
func (s *Store) Read(ctx context.Context, keys []string, limit int) (found []kv.ReadResult, err error) {
	results := make([]kv.ReadResult, len(keys))
	large := map[int]*row(nil) // rows of the values that have unread parts
	if err := s.beginCall(); err != nil {
		return nil, err
	}
	defer s.endCall()
	err = s.withReaderInCall(ctx, "read", func(c *conn) error {
		for i, key := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			prefix, r, err := c.readFirstChunk(key, int64(limit))
			if err != nil {
				return err
			}
			if results[i] = resultOf(prefix, &r, int64(limit)); int64(len(prefix)) < min(int64(limit), r.size) && prefix != nil {
				if large == nil {
					large = map[int]*row{}
				}
				results[i].Prefix, large[i] = prefix, &r
			}
		}
		return nil
	})
	for i, r := range large {
		if err == nil {
			results[i], err = s.readRemainder(ctx, keys[i], results[i].Prefix, *r, int64(limit))
		}
	}
	if err != nil {
		return nil, err
	}
	return results, nil
}

// resultOf returns the result for a value, given its first limit bytes, which are nil if the key is missing.
func resultOf(prefix []byte, r *row, limit int64) kv.ReadResult {
	switch {
	case prefix == nil:
		return kv.ReadResult{}
	case r.size <= limit:
		return kv.ReadResult{Value: prefix, Size: int(r.size)}
	}
	return kv.ReadResult{Prefix: prefix, Size: int(r.size)}
}

// readRemainder reads the parts of a value whose first chunk was read. Like conn.readValue it starts again if the value
// is replaced, but it returns the connection after every few parts.
func (s *Store) readRemainder(ctx context.Context, key string, prefix []byte, r row, limit int64) (result kv.ReadResult, err error) {
	inTurn := func(do func(c *conn)) error {
		return s.withReaderInCall(ctx, "read", func(c *conn) error { do(c); return ctx.Err() })
	}
	for range maxReads {
		for err == nil && int64(len(prefix)) < min(limit, r.size) {
			if failed := inTurn(func(c *conn) { prefix, err = c.readParts(prefix, &r, limit, partsPerTurn) }); failed != nil {
				return result, failed
			}
		}
		if err == nil {
			return resultOf(prefix, &r, limit), nil
		}
		formerBlob := r.blob
		if !errors.Is(err, errPart) {
			return result, s.mapError("read", err)
		}
		if failed := inTurn(func(c *conn) { prefix, r, err = c.readFirstChunk(key, limit) }); failed != nil {
			return result, failed
		}
		if prefix == nil && err == nil {
			return result, nil
		}
		if err == nil && r.blob != 0 && r.blob == formerBlob {
			return result, s.mapError("read", errPart)
		}
	}
	return result, s.mapError("read", errReplaced)
}

// TTL implements kv.Store.
func (s *Store) TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error) {
	err = s.withReader(ctx, "ttl", func(c *conn) error {
		r, err := c.lookup(key)
		if ok = err == nil && c.isLive(&r); ok && r.expires != 0 {
			left = c.clock.timeLeft(r.expires)
		}
		return err
	})
	return left, ok, err
}
