package sqlitekv

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// A blob is what follows the first chunk of a large value. Its parts, of a chunk each, lie under blob << partBits | n, n from
// 1. They are written before the transaction in which an entry gets the blob, and removed after the one in which it loses it,
// a few at a time: other writers wait for a few parts, however large a value is. In the meantime the blob is among the
// discarded ones, which the next start removes after a kill. No part ever changes.
const (
	partBits  = 11
	stepParts = 2 // are written or removed in one transaction

	blobTables = `
CREATE TABLE parts (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE discarded (blob INTEGER PRIMARY KEY) STRICT;`
)

var errPart = fmt.Errorf("%w: a part of a value is missing or has another length", kv.ErrDamaged)

// isLarge reports whether a write needs a blob.
func isLarge(w *kv.Write) bool { return w.Op == kv.Put && len(w.Value) > chunkSize }

// putLarge makes a write of a large value.
func (s *Store) putLarge(ctx context.Context, w *kv.Write) (done bool, err error) {
	blob := s.lastBlob.Add(1)
	s.staged.Store(blob, nil)
	left := blob
	defer func() {
		s.staged.Delete(blob)
		_ = s.sweep(context.WithoutCancel(ctx), left) // otherwise a later tick does
	}()
	if done, err = s.stage(ctx, w, blob); err != nil || !done {
		return false, err
	}
	err = s.transact(ctx, "write", added(w)-int64(len(w.Value)-chunkSize), func(c *conn, full fullFor) (err error) {
		left = blob
		if full.refuses(w) {
			return errFull
		}
		done, left, err = c.write(w, blob, s.quota)
		return err
	})
	if err != nil {
		done, left = false, blob
	}
	return done, err
}

// stage writes the blob of a large value as a discarded one. It writes nothing, and reports that, if the write's condition
// does not hold.
func (s *Store) stage(ctx context.Context, w *kv.Write, blob int64) (holds bool, err error) {
	first, grows := int64(1), added(w) // there must be room for all of it at the beginning
	for piece := range slices.Chunk(w.Value[chunkSize:], stepParts*chunkSize) {
		err = s.transact(ctx, "write", grows, func(c *conn, full fullFor) (err error) {
			if full.refuses(w) {
				return errFull
			}
			if first == 1 {
				if holds, err = c.allows(w, s.quota); err == nil && holds {
					err = c.discard(blob)
				}
			}
			if err != nil || !holds {
				return err
			}
			return c.putParts(blob, first, piece)
		})
		if err != nil || !holds {
			return false, err
		}
		first, grows = first+stepParts, int64(len(piece))
	}
	return holds, nil
}

// putParts writes parts of a blob from the nth on.
func (c *conn) putParts(blob, n int64, value []byte) error {
	if blob > maxID {
		return errRow
	}
	for part := range slices.Chunk(value, chunkSize) {
		if err := c.Run("INSERT INTO parts (id, value) VALUES (?, ?)", blob<<partBits|n, part); err != nil {
			return err
		}
		n++
	}
	return nil
}

// discard makes a blob one of those that no entry has.
func (c *conn) discard(blob int64) error {
	return c.Run("INSERT INTO discarded (blob) VALUES (?)", blob)
}

// sweep removes a discarded blob. It does nothing if an entry has the blob.
func (s *Store) sweep(ctx context.Context, blob int64) error {
	for more := blob != 0; more; {
		err := s.transact(ctx, "sweep", 0, func(c *conn, _ fullFor) (err error) {
			more, err = c.removeParts(blob)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeParts removes some parts of a discarded blob, and reports whether there may be more.
func (c *conn) removeParts(blob int64) (more bool, err error) {
	n, err := c.Int("SELECT count(*) FROM discarded WHERE blob = ?", blob)
	if err != nil || n == 0 {
		return false, err
	}
	from, to := partsOf(blob)
	err = c.Run("DELETE FROM parts WHERE id IN (SELECT id FROM parts WHERE id BETWEEN ? AND ? LIMIT ?)", from, to, int64(stepParts))
	if err != nil || c.Changes() == stepParts {
		return err == nil, err
	}
	return false, c.Run("DELETE FROM discarded WHERE blob = ?", blob)
}

// sweepAll removes the discarded blobs, except for those that running calls write.
func (s *Store) sweepAll(ctx context.Context) error {
	var blobs []int64
	err := s.read(ctx, "sweep", func(c *conn) error {
		return c.each("SELECT blob FROM discarded", func(row *sqlite3.Stmt) { blobs = append(blobs, row.ColumnInt64(0)) })
	})
	errs := []error{err}
	for _, blob := range blobs {
		if _, written := s.staged.Load(blob); !written {
			errs = append(errs, s.sweep(ctx, blob)) // a damaged one does not keep the others
		}
	}
	return errors.Join(errs...)
}

// checkParts returns kv.ErrDamaged if the parts of an entry are not as long as its size says. It does not read them.
func (c *conn) checkParts(r *row) error {
	if r.blob == 0 {
		return nil
	}
	from, to := partsOf(r.blob)
	n, err := c.Int("SELECT total(length(value)) FROM parts WHERE id BETWEEN ? AND ?", from, to)
	if err == nil && n != r.size-chunkSize {
		err = errPart
	}
	return err
}

// partsOf returns the least and the greatest id of a blob's parts.
func partsOf(blob int64) (from, to int64) {
	return blob << partBits, blob<<partBits | (1<<partBits - 1)
}

// readParts appends the parts of a value, up to the limit.
func (c *conn) readParts(begin []byte, r *row, limit int64) (_ []byte, err error) {
	for n := int64(1); int64(len(begin)) < min(limit, r.size); n++ {
		if begin, err = c.readPart(begin, r, n, limit); err != nil {
			return nil, err
		}
	}
	return begin, nil
}

// readPart appends the nth part of a value, up to the limit.
func (c *conn) readPart(begin []byte, r *row, n, limit int64) ([]byte, error) {
	for found, err := range c.Rows("SELECT value FROM parts WHERE id = ?", r.blob<<partBits|n) {
		if err != nil {
			return nil, err
		}
		if part := found.ColumnRawBlob(0); int64(len(part)) == min(r.size-n*chunkSize, chunkSize) {
			return append(begin, part[:min(limit-int64(len(begin)), int64(len(part)))]...), nil
		}
	}
	return nil, errPart
}
