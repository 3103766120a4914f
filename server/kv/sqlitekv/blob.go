package sqlitekv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// A blob is what follows the first chunk of a large value. Its parts, of a chunk each, lie under blob << partBits | n, n from
// 1. They are written before the transaction in which an entry gets the blob, and removed after the one in which it loses it,
// a few at a time: other writers wait for a few parts, however large a value is. In the meantime the blob is among the
// discarded ones, which the next start removes after a kill. No part ever changes.
const (
	partBits  = 11
	stepParts = 2  // are written or removed in one transaction, more after a long wait for it,
	maxParts  = 64 // and never more than these

	waitForPart = 2500 * time.Microsecond // some 16 times as long as a part takes

	blobTables = `
CREATE TABLE parts (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE discarded (blob INTEGER PRIMARY KEY) STRICT;`
)

// maxBlob is the greatest number of a blob. The ids of its parts are numbers of SQLite's.
const maxBlob = 1<<(62-partBits) - 1

var (
	errPart      = fmt.Errorf("%w: a part of a value is missing or has another length", kv.ErrDamaged)
	errOrphans   = fmt.Errorf("%w: parts of values belong to no entry", kv.ErrDamaged)
	errDiscarded = fmt.Errorf("%w: a part of a value is marked for removal", kv.ErrDamaged)
)

// isLarge reports whether a write needs a blob.
func isLarge(w *kv.Write) bool { return w.Op == kv.Put && len(w.Value) > chunkSize }

// putLarge makes a write of a large value.
func (s *Store) putLarge(ctx context.Context, w *kv.Write) (done bool, err error) {
	blob := s.lastBlob.Add(1)
	s.staged.Store(blob, nil)
	t := stage{Store: s, write: w, blob: blob}
	left, err := t.run(ctx)
	s.promised.add(kv.OwnerOf(w.Key), -t.bytes, -t.growth)
	s.staged.Delete(blob)
	if t.begun {
		_ = s.sweep(ctx, left) // otherwise a later tick does
	}
	return err == nil && left != blob, err
}

// stage is a large value that is being written.
type stage struct {
	*Store
	write         *kv.Write
	blob          int64
	begun         bool  // there may be parts
	bytes, growth int64 // that it was promised: of the disk, and of the owner's quota
}

// run writes the parts, and then the entry. It returns the blob that no entry has afterwards: that of the value itself if it was not written.
func (t *stage) run(ctx context.Context) (left int64, err error) {
	w := t.write
	holds, err := t.begin(ctx)
	for n := 0; err == nil && holds && n < len(w.Value)-chunkSize; {
		n, err = t.step(ctx, n)
	}
	if err != nil || !holds {
		return t.blob, err
	}
	err = t.transact(ctx, "write", roomFound, func(c *conn, _ fullFor) (err error) {
		_, left, err = c.write(w, t.blob, t.quota)
		return err
	})
	if err != nil {
		left = t.blob
	}
	return left, err
}

// begin decides whether the write may be made. If so, it discards the blob, which has no parts yet, and is promised the room for the value.
func (t *stage) begin(ctx context.Context) (holds bool, err error) {
	owner := kv.OwnerOf(t.write.Key)
	err = t.transact(ctx, "write", added(t.write), func(c *conn, full fullFor) (err error) {
		if full.refuses(t.write) {
			return errFull
		}
		var growth int64
		if holds, growth, err = c.allows(t.write, t.quota, t.promised.growth(owner)); err != nil || !holds {
			return err
		}
		if !t.begun {
			t.begun, t.bytes, t.growth = true, added(t.write), max(growth, 0)
			t.promised.add(owner, t.bytes, t.growth)
		}
		return c.discard(t.blob)
	})
	return holds, err
}

// step writes some parts behind the first n bytes of the blob. It returns how many bytes the blob has then.
func (t *stage) step(ctx context.Context, n int) (int, error) {
	value := t.write.Value[chunkSize:]
	end := n
	err := t.transact(ctx, "write", roomFound, func(c *conn, _ fullFor) error {
		end = min(n+c.fairParts()*chunkSize, len(value))
		return c.putParts(t.blob, 1+int64(n/chunkSize), value[n:end])
	})
	if err == nil { // the bytes are no longer free
		t.bytes -= int64(end - n)
		t.promised.add("", int64(n-end), 0)
	}
	return end, err
}

// fairParts returns how many parts are written or removed in this turn: more after a long wait for it.
func (c *conn) fairParts() int {
	return min(max(stepParts, int(c.waited/waitForPart)), maxParts)
}

// promises is what running writes of large values need. Others leave it to them.
type promises struct {
	mu     sync.Mutex
	disk   int64            // bytes
	owners map[string]int64 // by how many bytes their data grows
}

func (p *promises) add(owner string, bytes, growth int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disk += bytes
	if growth == 0 {
		return
	}
	if p.owners == nil {
		p.owners = map[string]int64{}
	}
	if p.owners[owner] += growth; p.owners[owner] == 0 {
		delete(p.owners, owner)
	}
}

// bytes returns how many bytes of the disk are promised.
func (p *promises) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.disk
}

// growth returns by how many bytes an owner's data will grow.
func (p *promises) growth(owner string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owners[owner]
}

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
		"SELECT max(id) >> 11 FROM parts WHERE id < ? << 11",
	} {
		n, err := c.Int(query, int64(maxBlob))
		if err != nil {
			return 0, err
		}
		last = max(last, n)
	}
	return last, nil
}

// checkBlobs returns kv.ErrDamaged if parts belong to no blob, or if a blob is discarded that an entry has or that cannot be.
func (c *conn) checkBlobs() error {
	orphans, err := c.Int(`SELECT count(*) FROM parts WHERE id >> 11 NOT IN (SELECT blob FROM entries WHERE blob > 0)
AND id >> 11 NOT IN (SELECT blob FROM discarded)`)
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
	parts := int64(c.fairParts())
	err = c.Run("DELETE FROM parts WHERE id IN (SELECT id FROM parts WHERE id BETWEEN ? AND ? LIMIT ?)", from, to, parts)
	if err != nil || c.Changes() == parts {
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
