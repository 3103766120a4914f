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

// A large value is stored as a first chunk in its row of entries and a blob with the rest. Part n of a blob, n from 1,
// has the id blob << partBits | n in parts.
//
// A write inserts the parts before the transaction in which the entry gets the blob. Parts are deleted after the
// transaction in which the entry loses it. Both happen a few parts per transaction, so other writers wait for a few
// parts at most, however large a value is. While no entry has the blob, it is listed in discarded. Maintenance removes
// discarded blobs, and so does the next start after a kill. A part never changes.
const (
	partBits = 11

	blobTables = `
CREATE TABLE parts (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE discarded (blob INTEGER PRIMARY KEY) STRICT;`
)

// maxBlob is the largest number of a blob. It keeps the ids of parts within 63 bits.
const maxBlob = 1<<(62-partBits) - 1

var (
	errPart      = fmt.Errorf("%w: a part of a value is missing or has another length", kv.ErrDamaged)
	errOrphans   = fmt.Errorf("%w: parts of values belong to no entry", kv.ErrDamaged)
	errDiscarded = fmt.Errorf("%w: a part of a value is marked for removal", kv.ErrDamaged)
)

// putParts inserts parts of a blob, beginning with part n.
func (c *conn) putParts(blob, n int64, value []byte) error {
	for part := range slices.Chunk(value, chunkSize) {
		if err := c.Run("INSERT INTO parts (id, value) VALUES (?, ?)", blob<<partBits|n, part); err != nil {
			return err
		}
		n++
	}
	return nil
}

// discard lists a blob as one that no entry has.
func (c *conn) discard(blob int64) error {
	err := c.Run("INSERT INTO discarded (blob) VALUES (?)", blob)
	if errors.Is(err, sqlite3.CONSTRAINT) {
		err = errDiscarded
	}
	return err
}

// lastBlob returns the largest number of a blob in use. It ignores impossible numbers, which Check reports.
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

// checkBlobs returns kv.ErrDamaged if parts belong to no blob, or if a discarded blob has an impossible number or
// belongs to an entry.
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

// removeBlob removes a discarded blob. It does nothing if an entry has the blob.
func (s *Store) removeBlob(ctx context.Context, blob int64) error {
	_, err := s.removeBlobParts(ctx, blob, math.MaxInt64)
	return err
}

// removeBlobParts removes about most parts of a discarded blob. It returns the number of removed parts. When no part is
// left, it also forgets the blob.
func (s *Store) removeBlobParts(ctx context.Context, blob, maxParts int64) (removed int64, err error) {
	for more := blob != 0; more && removed < maxParts; {
		n := int64(0)
		err = s.transact(ctx, "sweep", 0, func(c *conn, _ diskFullFor) (err error) {
			n, more, err = c.removeParts(blob)
			return err
		})
		if err != nil {
			return removed, err
		}
		if removed += n; !more {
			s.abandoned.forget(blob)
		}
	}
	return removed, nil
}

// removeParts removes some parts of a discarded blob in one transaction. It returns their number and whether there may
// be more.
func (c *conn) removeParts(blob int64) (removed int64, more bool, err error) {
	n, err := c.Int(`SELECT count(*) FROM discarded WHERE blob = ?1
AND NOT EXISTS (SELECT 1 FROM entries WHERE blob > 0 AND blob = ?1)`, blob)
	if err != nil || n == 0 {
		return 0, false, err
	}
	from, to := partsOf(blob)
	parts := int64(c.partsThisTurn())
	err = c.Run("DELETE FROM parts WHERE id IN (SELECT id FROM parts WHERE id BETWEEN ? AND ? LIMIT ?)", from, to, parts)
	if err != nil {
		return 0, false, err
	}
	if removed = c.Changes(); removed == parts {
		return removed, true, nil
	}
	return removed, false, c.Run("DELETE FROM discarded WHERE blob = ?", blob)
}

// removeDiscarded removes all discarded blobs except those that running calls are writing.
func (s *Store) removeDiscarded(ctx context.Context) error {
	var blobs []int64
	err := s.withReader(ctx, "sweep", func(c *conn) error {
		return c.forEach("SELECT blob FROM discarded", func(row *sqlite3.Stmt) { blobs = append(blobs, row.ColumnInt64(0)) })
	})
	errs := []error{err}
	for _, blob := range blobs {
		if _, written := s.stagedBlobs.Load(blob); !written {
			errs = append(errs, s.removeBlob(ctx, blob)) // a damaged blob must not prevent the removal of others
		}
	}
	return errors.Join(errs...)
}

// checkParts returns kv.ErrDamaged if the parts of an entry are not as long as its size requires. It does not read the
// parts.
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

// partsOf returns the smallest and the largest id of a blob's parts.
func partsOf(blob int64) (from, to int64) {
	return blob << partBits, blob<<partBits | (1<<partBits - 1)
}

// readParts appends up to most parts of a value, and no more than limit bytes in total.
func (c *conn) readParts(prefix []byte, r *row, limit, maxParts int64) (_ []byte, err error) {
	for ; maxParts > 0 && int64(len(prefix)) < min(limit, r.size); maxParts-- {
		n := int64(len(prefix) / chunkSize)
		if prefix, err = c.readPart(prefix, r, n, limit); err != nil {
			return nil, err
		}
	}
	return prefix, nil
}

// readPart appends part n of a value, and no more than limit bytes in total.
func (c *conn) readPart(prefix []byte, r *row, n, limit int64) ([]byte, error) {
	for stmt, err := range c.Rows("SELECT value FROM parts WHERE id = ?", r.blob<<partBits|n) {
		if err != nil {
			return nil, err
		}
		if part := stmt.ColumnRawBlob(0); int64(len(part)) == min(r.size-n*chunkSize, chunkSize) {
			return append(prefix, part[:min(limit-int64(len(prefix)), int64(len(part)))]...), nil
		}
	}
	return nil, errPart
}
