package sqlitekv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// A blob is what follows the first chunk of a large value. Its parts, of a chunk each, lie under blob << partBits | n, n from
// 1. They are written before the transaction in which an entry gets the blob, and removed after the one in which it loses it,
// a few at a time: other writers wait for a few parts, however large a value is. In the meantime the blob is among the
// discarded ones, which the next start removes after a kill. No part ever changes.
const (
	partBits = 11

	blobTables = `
CREATE TABLE parts (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE discarded (blob INTEGER PRIMARY KEY) STRICT;`
)

// maxBlob is the greatest number of a blob, so that the ids of its parts have 63 bits at most.
const maxBlob = 1<<(62-partBits) - 1

var (
	errPart      = fmt.Errorf("%w: a part of a value is missing or has another length", kv.ErrDamaged)
	errOrphans   = fmt.Errorf("%w: parts of values belong to no entry", kv.ErrDamaged)
	errDiscarded = fmt.Errorf("%w: a part of a value is marked for removal", kv.ErrDamaged)
)

// putParts writes parts of a blob from the nth on.
func (c *conn) putParts(blob, n int64, value []byte) error {
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
	err := c.Run("INSERT INTO discarded (blob) VALUES (?)", blob)
	if errors.Is(err, sqlite3.CONSTRAINT) {
		err = errDiscarded
	}
	return err
}

// lastBlob returns the greatest number that a blob has. It ignores impossible ones, which a check finds.
func (c *conn) lastBlob() (last int64, err error) {
	for _, query := range []string{
		"SELECT max(blob) FROM entries WHERE blob > 0 AND blob < ?",
		"SELECT max(blob) FROM discarded WHERE blob < ?",
	} {
		n, err := c.Int(query, int64(maxBlob))
		if err != nil {
			return 0, err
		}
		last = max(last, n)
	}
	part, err := c.Int("SELECT max(id) FROM parts WHERE id < ?", int64(maxBlob<<partBits))
	return max(last, part>>partBits), err
}

// checkBlobs returns kv.ErrDamaged if parts belong to no blob, or if a blob is discarded that an entry has or that cannot be.
func (c *conn) checkBlobs() error {
	orphans, err := c.Int(`SELECT count(*) FROM parts WHERE id >> ?1 NOT IN (SELECT blob FROM entries WHERE blob > 0)
AND id >> ?1 NOT IN (SELECT blob FROM discarded)`, int64(partBits))
	if err != nil {
		return err
	}
	wrong, err := c.Int(`SELECT count(*) FROM discarded WHERE blob NOT BETWEEN 1 AND ?
OR blob IN (SELECT blob FROM entries WHERE blob > 0)`, int64(maxBlob))
	switch {
	case err != nil:
		return err
	case orphans > 0:
		return errOrphans
	case wrong > 0:
		return errDiscarded
	}
	return nil
}

// sweep removes a discarded blob. It does nothing if an entry has the blob.
func (s *Store) sweep(ctx context.Context, blob int64) error {
	_, err := s.sweepParts(ctx, blob, math.MaxInt64)
	return err
}

// sweepParts is sweep, but stops after so many parts or a few more. It returns how many it removed, and forgets a blob without parts.
func (s *Store) sweepParts(ctx context.Context, blob, most int64) (removed int64, err error) {
	for more := blob != 0; more && removed < most; {
		n := int64(0)
		err = s.transact(ctx, "sweep", 0, func(c *conn, _ fullFor) (err error) {
			n, more, err = c.removeParts(blob)
			return err
		})
		if err != nil {
			return removed, err
		}
		if removed += n; !more {
			s.left.forget(blob)
		}
	}
	return removed, nil
}

// removeParts removes some parts of a discarded blob. It returns how many, and whether there may be more.
func (c *conn) removeParts(blob int64) (removed int64, more bool, err error) {
	n, err := c.Int(`SELECT count(*) FROM discarded WHERE blob = ?1
AND NOT EXISTS (SELECT 1 FROM entries WHERE blob > 0 AND blob = ?1)`, blob)
	if err != nil || n == 0 {
		return 0, false, err
	}
	from, to := partsOf(blob)
	parts := int64(c.fairParts())
	err = c.Run("DELETE FROM parts WHERE id IN (SELECT id FROM parts WHERE id BETWEEN ? AND ? LIMIT ?)", from, to, parts)
	if err != nil {
		return 0, false, err
	}
	if removed = c.Changes(); removed == parts {
		return removed, true, nil
	}
	return removed, false, c.Run("DELETE FROM discarded WHERE blob = ?", blob)
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

// readParts appends the next parts of a value, up to the limit and no more than most.
func (c *conn) readParts(begin []byte, r *row, limit, most int64) (_ []byte, err error) {
	for ; most > 0 && int64(len(begin)) < min(limit, r.size); most-- {
		n := int64(len(begin) / chunkSize)
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
