package sqlitekv

import (
	"context"
	"fmt"
	"strings"

	"github.com/coffer-storage/coffer/server/kv"
)

var errCursor = fmt.Errorf("sqlitekv: scan: %w", kv.ErrCursor)

// cursorMark begins every cursor. The last key of the page follows.
const cursorMark = "k"

// Scan implements kv.Store. It returns keys in the order of their bytes.
func (s *Store) Scan(ctx context.Context, prefix, cursor string, limit int) (keys []string, next string, err error) {
	last, ours := strings.CutPrefix(cursor, cursorMark)
	if cursor != "" && (!ours || !strings.HasPrefix(last, prefix)) {
		return nil, "", errCursor // callers can forge cursors, which must not lead out of the prefix
	}
	if limit <= 0 {
		limit = kv.DefaultScanLimit
	}
	from := []byte(prefix)
	if cursor != "" {
		from = append([]byte(last), 0) // the smallest key after the last one
	}
	err = s.withReader(ctx, "scan", func(c *conn) (err error) {
		keys, err = c.listKeys(from, prefixEnd(prefix), limit)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(keys) == limit {
		next = cursorMark + keys[limit-1]
	}
	return keys, next, nil
}

// listKeys returns up to limit keys of live entries, from one key up to but not including another. A nil end means no
// bound.
func (c *conn) listKeys(from, to []byte, limit int) (keys []string, err error) {
	query, args := "SELECT key, expires FROM entries WHERE key >= ? AND key < ? ORDER BY key", []any{from, to}
	if to == nil {
		query, args = "SELECT key, expires FROM entries WHERE key >= ? ORDER BY key", args[:1]
	}
	clock := c.clock.now()
	for stmt, err := range c.Rows(query, args...) {
		if err != nil {
			return nil, err
		}
		expires := stmt.ColumnInt64(1)
		if expires < 0 {
			return nil, errRow
		}
		if expires == 0 || clock < expires {
			keys = append(keys, string(stmt.ColumnRawBlob(0)))
		}
		if len(keys) == limit {
			break
		}
	}
	return keys, nil
}

// prefixEnd returns the smallest key after all keys that begin with prefix. It returns nil if all larger keys begin
// with prefix.
func prefixEnd(prefix string) []byte {
	to := []byte(prefix)
	for len(to) > 0 {
		last := &to[len(to)-1]
		if *last++; *last != 0 {
			return to
		}
		to = to[:len(to)-1] // the last byte was 0xff
	}
	return nil
}

const onlyPart = "all"

// Topology implements kv.Sweeper. There is a single part, because one process at a time has the directory open.
func (s *Store) Topology(ctx context.Context) (kv.Topology, error) {
	if err := s.Ping(ctx); err != nil {
		return kv.Topology{}, err
	}
	return kv.Topology{ID: s.id, Parts: []string{onlyPart}, Stable: true}, nil
}

// SweepPage implements kv.Sweeper.
func (s *Store) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	if part != onlyPart {
		return nil, "", errCursor
	}
	return s.Scan(ctx, prefix, cursor, limit)
}
