package sqlitekv

import (
	"context"
	"errors"
	"slices"

	"github.com/coffer-storage/coffer/server/kv"
)

// One transaction makes at most so many writes and holds about so many bytes of values, so that other writers get
// their turn within milliseconds.
const (
	maxWrites = 100
	maxBytes  = 4 * chunkSize

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
	err := s.enter()
	if err == nil {
		defer s.leave()
	}
	for next := 0; next < len(writes); {
		n := fitting(writes[next:])
		if err == nil {
			t := transaction{Store: s, writes: writes[next : next+n], done: done[next : next+n], errs: errs[next : next+n]}
			err = t.run(ctx)
		}
		if err != nil { // it is the error of all that follow
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

// fitting returns how many of the writes go into one transaction, one at least. A large value has one of its own.
func fitting(writes []kv.Write) int {
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

// transaction is writes that are made together. A write that adds a value fails alone if the disk or the quota is full.
type transaction struct {
	*Store
	writes []kv.Write
	done   []bool
	errs   []error
	known  []comparison
}

// run makes the writes. It returns an error that is not of one write alone.
func (t *transaction) run(ctx context.Context) (err error) {
	if t.known, err = t.compareAll(ctx, t.writes); err != nil {
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
		grows += added(&t.writes[i])
	}
	var left []leftBlob
	err = t.transact(ctx, "write", grows, func(c *conn, full fullFor) (err error) {
		left, err = t.try(c, full)
		return err
	})
	if err != nil {
		return err
	}
	for _, blob := range left {
		t.sweepOrLeave(ctx, blob.owner, blob.blob)
	}
	return nil
}

// added returns how many bytes a write adds.
func added(w *kv.Write) int64 {
	if w.Op != kv.Put {
		return 0
	}
	return int64(len(w.Value) + len(w.Key) + 1)
}

// try makes the writes within a transaction, and returns the blobs that no entry has from then on.
func (t *transaction) try(c *conn, full fullFor) (left []leftBlob, err error) {
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
			left = append(left, leftBlob{kv.OwnerPrefixOf(w.Key), blob})
		}
	}
	return left, nil
}

// roomFound stands for bytes for which an earlier transaction found room.
const roomFound = -1

// transact calls do in a transaction that adds so many bytes of values. If the disk is full and nothing is added, it releases the
// reserved space as the transaction needs it, and tries again.
func (s *Store) transact(ctx context.Context, op string, grows int64, do func(c *conn, full fullFor) error) error {
	return s.turn(ctx, func(c *conn) error {
		if err := s.checkPlace(); err != nil {
			return err
		}
		full := nobody
		if grows > 0 {
			full = s.space.fullFor(c, grows+s.promised.bytes())
		}
		try := func() error {
			err := c.Transact(begin, func() error { return do(c, full) })
			if err != nil {
				return s.failure(op, err)
			}
			return nil
		}
		err := try()
		for (grows == 0 || full == everybody) && errors.Is(err, kv.ErrFull) && !errors.Is(err, errFull) && s.space.spend() {
			s.checkpoint(c, whole)
			err = try()
		}
		if err == nil && s.pages.Load() > maxLogPages {
			s.checkpoint(c, whole)
		}
		return err
	})
}

// allows reports within a transaction whether a write's condition holds, and by how many bytes it makes the owner's data longer. It
// returns kv.ErrQuota if that would go beyond the quota, together with bytes that others were promised.
func (c *conn) allows(w *kv.Write, known comparison, quota, promised int64) (holds bool, grow int64, err error) {
	r, holds, err := c.check(w, known)
	if err != nil || !holds {
		return false, 0, err
	}
	if grow = growth(w, &r); grow > 0 {
		_, err = c.grown(w.Key, grow+promised, quota)
	}
	return true, grow, err
}

// check returns the row that a write is about, and whether its condition holds.
func (c *conn) check(w *kv.Write, known comparison) (r row, holds bool, err error) {
	if r, err = c.lookup(w.Key); err != nil {
		return r, false, err
	}
	switch w.If {
	case kv.Absent:
		return r, !c.live(&r), nil
	case kv.Equals:
		holds, err = c.equals(w.Key, &r, w.Old, known)
		return r, holds, err
	}
	return r, w.Op == kv.Put || c.live(&r), nil
}

// growth returns by how many bytes a value that is put in the place of a row makes the owner's data longer.
func growth(w *kv.Write, r *row) int64 {
	n := int64(len(w.Value)) - r.size
	if r.id == 0 {
		n += int64(len(w.Key))
	}
	return n
}

// write makes one write within a transaction, with the blob of a large value, and reports whether its condition held. It returns the
// blob that no entry has from then on, if there is one. kv.ErrQuota is an error of this write alone.
func (c *conn) write(w *kv.Write, known comparison, blob, quota int64) (holds bool, left int64, err error) {
	r, holds, err := c.check(w, known)
	if err != nil || !holds {
		return false, blob, err
	}
	expires := c.clock.after(w.TTL)
	switch w.Op {
	case kv.Remove:
		return true, r.blob, c.delete(w.Key, &r)
	case kv.Expire:
		return true, 0, c.Run("UPDATE entries SET expires = ? WHERE id = ?", expires, r.id)
	}
	if w.KeepTTL {
		expires = r.expires
	}
	if err := c.account(w.Key, growth(w, &r), quota); err != nil {
		return false, blob, err
	}
	return true, r.blob, c.put(w.Key, w.Value, blob, &r, expires)
}

// put writes a value in the place of the row, if there is one. The parts of its blob are there already.
func (c *conn) put(key string, value []byte, blob int64, r *row, expires int64) error {
	if err := c.leaveBlob(r); err != nil {
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
	if id := c.LastInsertRowID(); err == nil && (id <= 0 || id > maxID) { // SQLite counts from the greatest id, which is impossible
		err = errRow
	}
	return err
}

// delete removes an entry. Its blob is to be swept.
func (c *conn) delete(key string, r *row) error {
	err := c.leaveBlob(r)
	if err == nil {
		err = c.account(key, -r.size-int64(len(key)), 0)
	}
	if err != nil {
		return err
	}
	return c.Run("DELETE FROM entries WHERE id = ?", r.id)
}

// leaveBlob discards the blob of a row, if it has one. It returns kv.ErrDamaged, and changes nothing, if its parts are not those of the row.
func (c *conn) leaveBlob(r *row) error {
	if r.blob == 0 {
		return nil
	}
	if err := c.checkParts(r); err != nil {
		return err
	}
	return c.discard(r.blob)
}
