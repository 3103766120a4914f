package sqlitekv

import (
	"context"
	"errors"
	"slices"

	"github.com/coffer-storage/coffer/server/kv"
)

// One transaction makes at most maxWrites writes, with about maxBytes bytes of values, so that other writers get their
// turn within milliseconds.
const (
	maxWrites = 100
	maxBytes  = 4 * chunkSize

	beginImmediate = "BEGIN IMMEDIATE"
)

// Write implements kv.Store. It uses as few transactions as the limits allow.
func (s *Store) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if err := kv.CheckWrites(writes); err != nil {
		return nil, err
	}
	if len(writes) == 0 {
		return nil, s.Ping(ctx)
	}
	done, errs := make([]bool, len(writes)), make(kv.BatchError, len(writes))
	err := s.beginCall()
	if err == nil {
		defer s.endCall()
	}
	for next := 0; next < len(writes); {
		n := batchSize(writes[next:])
		if err == nil {
			t := transaction{Store: s, writes: writes[next : next+n], done: done[next : next+n], errs: errs[next : next+n]}
			err = t.run(ctx)
		}
		if err != nil { // the error applies to all of the remaining writes
			clear(done[next : next+n])
			for i := range errs[next : next+n] {
				errs[next+i] = err
			}
		}
		next += n
	}
	switch {
	case !slices.ContainsFunc(errs, func(err error) bool { return err != nil }):
		return done, nil
	case len(writes) == 1:
		return done, errs[0]
	}
	return done, errs
}

// batchSize returns how many of the writes go into one transaction, at least one. A large value has a transaction of
// its own.
func batchSize(writes []kv.Write) int {
	size := 0
	for i := range writes {
		size += len(writes[i].Value)
		if i > 0 && (i == maxWrites || size > maxBytes || isLarge(&writes[i])) {
			return i
		}
		if isLarge(&writes[i]) {
			return 1
		}
	}
	return len(writes)
}

// transaction makes several writes together. A write that fails because of a full disk or quota does not affect the
// others.
type transaction struct {
	*Store
	writes []kv.Write
	done   []bool
	errs   []error
	known  []comparison
}

// run makes the writes. It returns an error that applies to all of them.
func (t *transaction) run(ctx context.Context) (err error) {
	if t.known, err = t.compareLargeValues(ctx, t.writes); err != nil {
		return err
	}
	if isLarge(&t.writes[0]) {
		done, err := t.putLarge(ctx, &t.writes[0], t.known[0])
		if t.done[0] = done; errors.Is(err, kv.ErrFull) || errors.Is(err, kv.ErrQuota) {
			t.errs[0], err = err, nil
		}
		return err
	}
	grows := int64(0)
	for i := range t.writes {
		grows += bytesAdded(&t.writes[i])
	}
	var orphans []abandonedBlob
	err = t.transact(ctx, "write", grows, func(c *conn, full diskFullFor) (err error) {
		orphans, err = t.makeWrites(c, full)
		return err
	})
	if err != nil {
		return err
	}
	for _, blob := range orphans {
		t.removeOrAbandon(ctx, blob.owner, blob.blob)
	}
	return nil
}

// bytesAdded returns how many bytes a write adds to the store.
func bytesAdded(w *kv.Write) int64 {
	if w.Op != kv.Put {
		return 0
	}
	return int64(len(w.Value) + len(w.Key) + 1)
}

// makeWrites makes the writes within a transaction. It returns the blobs that no entry has any longer.
func (t *transaction) makeWrites(c *conn, full diskFullFor) (orphans []abandonedBlob, err error) {
	for i := range t.writes {
		w := &t.writes[i]
		if full.refuses(w) {
			t.errs[i] = errFull
			continue
		}
		var blob int64
		t.done[i], blob, err = c.write(w, t.known[i], 0, t.quota)
		if t.errs[i] = nil; errors.Is(err, kv.ErrQuota) {
			t.errs[i], err = err, nil
		}
		if err != nil {
			return nil, err
		}
		if blob != 0 {
			orphans = append(orphans, abandonedBlob{kv.OwnerPrefixOf(w.Key), blob})
		}
	}
	return orphans, nil
}

// spaceChecked tells transact that an earlier transaction has reserved the space.
const spaceChecked = -1

// transact calls do in a transaction that adds grows bytes of values. If the disk is full although nothing is added, as
// in a deletion, it releases pieces of the reserve and tries again.
func (s *Store) transact(ctx context.Context, op string, grows int64, do func(c *conn, full diskFullFor) error) error {
	return s.withWriter(ctx, func(c *conn) error {
		if err := s.checkFileInPlace(); err != nil {
			return err
		}
		full := fullForNone
		if grows > 0 {
			full = s.space.check(c, grows+s.reservations.bytes())
		}
		try := func() error {
			err := c.Transact(beginImmediate, func() error { return do(c, full) })
			if err != nil {
				return s.mapError(op, err)
			}
			return nil
		}
		err := try()
		for (grows == 0 || full == fullForAll) && errors.Is(err, kv.ErrFull) && !errors.Is(err, errFull) && s.space.releaseReserve() {
			s.checkpoint(c, restart)
			err = try()
		}
		if err == nil && s.logPages.Load() > maxLogPages {
			s.checkpoint(c, restart)
		}
		return err
	})
}

// admits reports, within a transaction, whether a write's condition is met, and by how many bytes it makes the owner's
// data longer. It returns kv.ErrQuota if that would exceed the quota, including the bytes reserved for other writes.
func (c *conn) admits(w *kv.Write, known comparison, quota, promised int64) (conditionMet bool, grow int64, err error) {
	r, conditionMet, err := c.checkCondition(w, known)
	if err != nil || !conditionMet {
		return false, 0, err
	}
	if grow = growth(w, &r); grow > 0 {
		_, err = c.usageAfter(w.Key, grow+promised, quota)
	}
	return true, grow, err
}

// checkCondition returns the row of a write's key, and whether the condition is met.
func (c *conn) checkCondition(w *kv.Write, known comparison) (r row, met bool, err error) {
	if r, err = c.lookup(w.Key); err != nil {
		return r, false, err
	}
	switch w.If {
	case kv.Absent:
		return r, !c.isLive(&r), nil
	case kv.Equals:
		met, err = c.equals(w.Key, &r, w.Old, known)
		return r, met, err
	}
	return r, w.Op == kv.Put || c.isLive(&r), nil
}

// growth returns by how many bytes a Put makes the owner's data longer if it replaces a row.
func growth(w *kv.Write, r *row) int64 {
	n := int64(len(w.Value)) - r.size
	if r.id == 0 {
		n += int64(len(w.Key))
	}
	return n
}

// write makes one write within a transaction, and reports whether its condition was met. blob is the blob of a large
// value; its parts were already written. orphan is the blob that no entry has any longer, or 0. If the error is
// kv.ErrQuota, the transaction can continue with other writes.
func (c *conn) write(w *kv.Write, known comparison, blob, quota int64) (conditionMet bool, orphan int64, err error) {
	r, conditionMet, err := c.checkCondition(w, known)
	if err != nil || !conditionMet {
		return false, blob, err
	}
	expires := c.clock.expiry(w.TTL)
	switch w.Op {
	case kv.Remove:
		return true, r.blob, c.delete(w.Key, &r)
	case kv.Expire:
		return true, 0, c.Run("UPDATE entries SET expires = ? WHERE id = ?", expires, r.id)
	}
	if w.KeepTTL {
		expires = r.expires
	}
	if err := c.addUsage(w.Key, growth(w, &r), quota); err != nil {
		return false, blob, err
	}
	return true, r.blob, c.put(w.Key, w.Value, blob, &r, expires)
}

// put writes a value, and replaces the row if there is one. The parts of the blob were already written.
func (c *conn) put(key string, value []byte, blob int64, r *row, expires int64) error {
	if err := c.discardBlobOf(r); err != nil {
		return err
	}
	if blob != 0 {
		if err := c.Run("DELETE FROM discarded WHERE blob = ?", blob); err != nil {
			return err
		}
	}
	first, size := value[:min(len(value), chunkSize)], int64(len(value))
	if r.id != 0 {
		return c.Run("UPDATE entries SET expires = ?, size = ?, blob = ?, value = ? WHERE id = ?", expires, size, blob, first, r.id)
	}
	err := c.Run("INSERT INTO entries (key, expires, size, blob, value) VALUES (?, ?, ?, ?, ?)", []byte(key), expires, size, blob, first)
	if id := c.LastInsertRowID(); err == nil && (id <= 0 || id > maxID) { // SQLite assigns the next larger id, which is impossible if an existing id is
		err = errRow
	}
	return err
}

// delete removes an entry. The caller must remove its blob afterwards.
func (c *conn) delete(key string, r *row) error {
	err := c.discardBlobOf(r)
	if err == nil {
		err = c.addUsage(key, -r.size-int64(len(key)), 0)
	}
	if err != nil {
		return err
	}
	return c.Run("DELETE FROM entries WHERE id = ?", r.id)
}

// discardBlobOf discards the blob of a row, if it has one. It returns kv.ErrDamaged, and changes nothing, if the parts
// do not match the row.
func (c *conn) discardBlobOf(r *row) error {
	if r.blob == 0 {
		return nil
	}
	if err := c.checkParts(r); err != nil {
		return err
	}
	return c.discard(r.blob)
}
