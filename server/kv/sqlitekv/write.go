package sqlitekv

import (
	"context"
	"errors"
	"slices"
	"time"

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
	done := make([]bool, len(writes))
	for next := 0; next < len(writes); {
		n := fitting(writes[next:])
		if err := s.transact(ctx, writes[next:next+n], done[next:]); err != nil {
			clear(done[next:])
			if len(writes) == 1 {
				return done, err
			}
			return done, append(make(kv.BatchError, next, len(writes)), slices.Repeat([]error{err}, len(writes)-next)...)
		}
		next += n
	}
	return done, nil
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

// transact makes writes in one transaction. If the disk is full, it releases the reserved space for a transaction
// that adds no values, and tries again.
func (s *Store) transact(ctx context.Context, writes []kv.Write, done []bool) error {
	c, err := s.take(ctx, s.writer)
	if err != nil {
		return err
	}
	defer s.give(s.writer, c)
	added := 0
	for i := range writes {
		added += len(writes[i].Value)
		if writes[i].Op == kv.Put {
			added += len(writes[i].Key) + 1
		}
	}
	if added > 0 && !s.space.hasRoom(c, int64(added)) {
		return s.failure("write", kv.ErrFull)
	}
	err = s.try(c, writes, done)
	if err != nil && added == 0 && errors.Is(err, kv.ErrFull) && s.space.spend() {
		_, _, _ = c.WALCheckpoint("main", checkpointRestart) // the log can be written from its beginning again
		err = s.try(c, writes, done)
	}
	if err == nil && s.pages.Load() > maxLogPages {
		s.checkpoint(c)
	}
	return err
}

func (s *Store) try(c *conn, writes []kv.Write, done []bool) (err error) {
	err = c.Transact(begin, func() (err error) {
		for i := 0; i < len(writes) && err == nil; i++ {
			done[i], err = c.write(&writes[i])
		}
		return err
	})
	if err != nil {
		return s.failure("write", err)
	}
	return nil
}

// write makes one write within a transaction, and reports whether its condition held.
func (c *conn) write(w *kv.Write) (bool, error) {
	r, err := c.lookup(w.Key)
	if err != nil {
		return false, err
	}
	holds := w.Op == kv.Put || r.live()
	switch w.If {
	case kv.Absent:
		holds = !r.live()
	case kv.Equals:
		holds, err = c.equals(w.Key, &r, w.Old)
	}
	if err != nil || !holds {
		return false, err
	}
	expires := expiryAfter(w.TTL)
	switch w.Op {
	case kv.Remove:
		return true, c.delete(&r)
	case kv.Expire:
		return true, c.Run("UPDATE entries SET expires = ? WHERE id = ?", expires, r.id)
	}
	if w.KeepTTL {
		expires = r.expires
	}
	return true, c.put(w, &r, expires)
}

// put writes a value in the place of the row, if there is one.
func (c *conn) put(w *kv.Write, r *row, expires int64) error {
	if err := c.deleteParts(r); err != nil {
		return err
	}
	first, size := w.Value[:min(len(w.Value), chunkSize)], int64(len(w.Value))
	id := r.id
	if id != 0 {
		if err := c.Run("UPDATE entries SET expires = ?, size = ?, value = ? WHERE id = ?", expires, size, first, id); err != nil {
			return err
		}
	} else {
		if err := c.Run("INSERT INTO entries (key, expires, size, value) VALUES (?, ?, ?, ?)", []byte(w.Key), expires, size, first); err != nil {
			return err
		}
		id = c.LastInsertRowID()
	}
	n := int64(1)
	for part := range slices.Chunk(w.Value[len(first):], chunkSize) {
		if err := c.Run("INSERT INTO parts (id, value) VALUES (?, ?)", id<<partBits|n, part); err != nil {
			return err
		}
		n++
	}
	return nil
}

func (c *conn) delete(r *row) error {
	if err := c.deleteParts(r); err != nil {
		return err
	}
	return c.Run("DELETE FROM entries WHERE id = ?", r.id)
}

func (c *conn) deleteParts(r *row) error {
	if r.size <= chunkSize {
		return nil
	}
	return c.Run("DELETE FROM parts WHERE id BETWEEN ? AND ?", r.id<<partBits, (r.id+1)<<partBits-1)
}

// expiryAfter turns a TTL into an expiry, rounded up to the millisecond. 0 means never.
func expiryAfter(ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	end := time.Now().Add(ttl)
	if end.Nanosecond()%int(time.Millisecond) != 0 {
		return end.UnixMilli() + 1
	}
	return end.UnixMilli()
}
