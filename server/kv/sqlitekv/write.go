package sqlitekv

import (
	"context"
	"errors"
	"slices"

	"github.com/coffer-storage/coffer/server/kv"
)

// One transaction makes at most so many writes and holds about so many bytes of values, so that other writers get
// their turn.
const (
	maxWrites = 1000
	maxBytes  = 16 << 20

	begin = "BEGIN IMMEDIATE"
)

// Write implements kv.Store, in as few transactions as the limits allow.
func (s *Store) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if err := kv.CheckWrites(writes); err != nil {
		return nil, err
	}
	if len(writes) == 0 {
		return nil, s.Ping(ctx)
	}
	done, errs := make([]bool, len(writes)), make(kv.BatchError, len(writes))
	failed := false
	for next := 0; next < len(writes); {
		n := fitting(writes[next:])
		t := transaction{s, writes[next : next+n], done[next : next+n], errs[next : next+n]}
		if err := t.run(ctx); err != nil {
			clear(done[next:])
			for i := range errs[next:] {
				errs[next+i] = err
			}
			failed, next = true, len(writes)
			continue
		}
		failed = failed || slices.ContainsFunc(t.errs, func(err error) bool { return err != nil })
		next += n
	}
	switch {
	case !failed:
		return done, nil
	case len(writes) == 1:
		return done, errs[0]
	}
	return done, errs
}

// fitting returns how many of the writes go into one transaction, one at least.
func fitting(writes []kv.Write) int {
	size := 0
	for i := range writes {
		if size += len(writes[i].Value); i > 0 && (i == maxWrites || size > maxBytes) {
			return i
		}
	}
	return len(writes)
}

// transaction is writes that are made together. A write that adds a value fails alone if the disk or the quota is full.
type transaction struct {
	*Store
	writes []kv.Write
	done   []bool
	errs   []error
}

// run makes the writes. If the disk is full, it makes those that add no value, releases the reserved space for them if they
// need it, and tries again.
func (t *transaction) run(ctx context.Context) error {
	c, err := t.take(ctx, t.writer)
	if err != nil {
		return err
	}
	defer t.give(t.writer, c)
	if err := t.checkPlace(); err != nil {
		return err
	}
	added := t.added()
	full := nobody
	if added > 0 && !t.space.hasRoom(c, added, t.space.least) {
		if full = owners; !t.space.hasRoom(c, added, MinFree) {
			full = everybody
		}
	}
	err = t.try(c, full)
	for (added == 0 || full == everybody) && errors.Is(err, kv.ErrFull) && t.space.spend() {
		_, _, _ = c.WALCheckpoint("main", checkpointRestart) // the log can be written from its beginning again
		err = t.try(c, full)
	}
	if err == nil && t.pages.Load() > maxLogPages {
		t.checkpoint(c)
	}
	return err
}

// added returns how many bytes the writes add.
func (t *transaction) added() (n int64) {
	for i := range t.writes {
		if w := &t.writes[i]; w.Op == kv.Put {
			n += int64(len(w.Value) + len(w.Key) + 1)
		}
	}
	return n
}

// fullFor says for which keys the disk is full.
type fullFor uint8

const (
	nobody fullFor = iota
	owners         // keys of tenants, which leave the minimum of free space to others
	everybody
)

func (f fullFor) refuses(w *kv.Write) bool {
	return w.Op == kv.Put && (f == everybody || f == owners && kv.OwnerOf(w.Key) != "")
}

func (t *transaction) try(c *conn, full fullFor) error {
	err := c.Transact(begin, func() error {
		for i := range t.writes {
			w := &t.writes[i]
			if full.refuses(w) {
				t.errs[i] = errFull
				continue
			}
			var err error
			t.done[i], err = c.write(w, t.quota)
			if t.errs[i] = nil; errors.Is(err, kv.ErrQuota) {
				t.errs[i], err = err, nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return t.failure("write", err)
	}
	return nil
}

// write makes one write within a transaction, and reports whether its condition held. kv.ErrQuota is an error of this write
// alone.
func (c *conn) write(w *kv.Write, quota int64) (bool, error) {
	r, err := c.lookup(w.Key)
	if err != nil {
		return false, err
	}
	holds := w.Op == kv.Put || c.live(&r)
	switch w.If {
	case kv.Absent:
		holds = !c.live(&r)
	case kv.Equals:
		holds, err = c.equals(w.Key, &r, w.Old)
	}
	if err != nil || !holds {
		return false, err
	}
	expires := c.clock.after(w.TTL)
	switch w.Op {
	case kv.Remove:
		return true, c.delete(w.Key, &r)
	case kv.Expire:
		return true, c.Run("UPDATE entries SET expires = ? WHERE id = ?", expires, r.id)
	}
	if w.KeepTTL {
		expires = r.expires
	}
	grow := int64(len(w.Value)) - r.size
	if r.id == 0 {
		grow += int64(len(w.Key))
	}
	if err := c.account(w.Key, grow, quota); err != nil {
		return false, err
	}
	return true, c.put(w.Key, w.Value, &r, expires)
}

// put writes a value in the place of the row, if there is one.
func (c *conn) put(key string, value []byte, r *row, expires int64) error {
	if err := c.deleteParts(r); err != nil {
		return err
	}
	first, size := value[:min(len(value), chunkSize)], int64(len(value))
	id := r.id
	if id != 0 {
		if err := c.Run("UPDATE entries SET expires = ?, size = ?, value = ? WHERE id = ?", expires, size, first, id); err != nil {
			return err
		}
	} else {
		if err := c.Run("INSERT INTO entries (key, expires, size, value) VALUES (?, ?, ?, ?)", []byte(key), expires, size, first); err != nil {
			return err
		}
		id = c.LastInsertRowID()
	}
	n := int64(1)
	for part := range slices.Chunk(value[len(first):], chunkSize) {
		if err := c.Run("INSERT INTO parts (id, value) VALUES (?, ?)", id<<partBits|n, part); err != nil {
			return err
		}
		n++
	}
	return nil
}

func (c *conn) delete(key string, r *row) error {
	err := c.deleteParts(r)
	if err == nil {
		err = c.account(key, -r.size-int64(len(key)), 0)
	}
	if err != nil {
		return err
	}
	return c.Run("DELETE FROM entries WHERE id = ?", r.id)
}

func (c *conn) deleteParts(r *row) error {
	if r.size <= chunkSize {
		return nil
	}
	if err := c.checkParts(r); err != nil {
		return err
	}
	return c.Run("DELETE FROM parts WHERE id BETWEEN ? AND ?", r.id<<partBits, r.id<<partBits|(1<<partBits-1))
}
