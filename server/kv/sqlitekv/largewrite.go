package sqlitekv

import (
	"context"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
)

// A turn writes or removes minTurnParts parts, or one for each waitForPart that the caller waited for the turn, up to
// maxTurnParts. Writing a part takes about a sixteenth of waitForPart, so a turn takes a fraction of the time that its
// caller waited.
const (
	minTurnParts = 2
	maxTurnParts = 64
	waitForPart  = 2500 * time.Microsecond
)

// isLarge reports whether a write needs a blob.
func isLarge(w *kv.Write) bool { return w.Op == kv.Put && len(w.Value) > chunkSize }

// putLarge makes a Put of a large value.
func (s *Store) putLarge(ctx context.Context, w *kv.Write, known comparison) (done bool, err error) {
	if err := s.removeAbandoned(ctx, kv.OwnerPrefixOf(w.Key), int64(len(w.Value))/chunkSize); err != nil {
		return false, err
	}
	blob := s.lastBlob.Add(1)
	if blob > maxBlob { // no blob number is left
		return false, s.mapError("write", errRow)
	}
	s.stagedBlobs.Store(blob, nil)
	t := stagedWrite{Store: s, write: w, known: known, blob: blob}
	orphan, err := t.run(ctx)
	s.reservations.add(kv.OwnerPrefixOf(w.Key), -t.bytes, -t.growth)
	s.stagedBlobs.Delete(blob)
	if t.mayHaveParts {
		s.removeOrAbandon(ctx, kv.OwnerPrefixOf(w.Key), orphan)
	}
	return err == nil && orphan != blob, err
}

// stagedWrite is the writing of a large value. The order of its transactions is: discard the blob; write its parts, a
// few at a time; store the entry with the blob. So after a kill at any point, the parts of an unfinished write belong
// to a discarded blob, which the next start removes.
type stagedWrite struct {
	*Store
	write         *kv.Write
	known         comparison
	blob          int64
	mayHaveParts  bool  // parts may have been written
	bytes, growth int64 // reserved bytes of the disk and of the owner's quota
}

// run writes the parts and then the entry. It returns the blob that no entry has afterwards: the former one of the
// entry, or that of the new value if it was not written.
func (t *stagedWrite) run(ctx context.Context) (orphan int64, err error) {
	w := t.write
	conditionMet, err := t.admit(ctx)
	for n := 0; err == nil && conditionMet && n < len(w.Value)-chunkSize; {
		n, err = t.writeStep(ctx, n)
	}
	if err != nil || !conditionMet {
		return t.blob, err
	}
	err = t.transact(ctx, "write", spaceChecked, func(c *conn, _ diskFullFor) (err error) {
		_, orphan, err = c.write(w, t.known, t.blob, t.quota)
		return err
	})
	if err != nil {
		orphan = t.blob
	}
	return orphan, err
}

// admit decides whether the write may be made. If so, it discards the blob, which has no parts yet, and reserves space
// for the value.
func (t *stagedWrite) admit(ctx context.Context) (conditionMet bool, err error) {
	owner := kv.OwnerPrefixOf(t.write.Key)
	err = t.transact(ctx, "write", bytesAdded(t.write), func(c *conn, full diskFullFor) (err error) {
		if full.refuses(t.write) {
			return errFull
		}
		var growth int64
		if conditionMet, growth, err = c.admits(t.write, t.known, t.quota, t.reservations.growth(owner)); err != nil || !conditionMet {
			return err
		}
		if !t.mayHaveParts {
			t.mayHaveParts, t.bytes, t.growth = true, bytesAdded(t.write), max(growth, 0)
			t.reservations.add(owner, t.bytes, t.growth)
		}
		return c.discard(t.blob)
	})
	return conditionMet, err
}

// writeStep writes some parts after the first n bytes of the blob. It returns the number of bytes written so far.
func (t *stagedWrite) writeStep(ctx context.Context, n int) (int, error) {
	value := t.write.Value[chunkSize:]
	end := n
	err := t.transact(ctx, "write", spaceChecked, func(c *conn, _ diskFullFor) error {
		end = min(n+c.partsThisTurn()*chunkSize, len(value))
		return c.putParts(t.blob, 1+int64(n/chunkSize), value[n:end])
	})
	if err == nil { // the reservation shrinks, because these bytes are now used
		t.bytes -= int64(end - n)
		t.reservations.add("", int64(n-end), 0)
	}
	return end, err
}

// partsThisTurn returns how many parts this turn writes or removes. After a long wait it is more, because otherwise
// many callers would starve a large value.
func (c *conn) partsThisTurn() int {
	return min(max(minTurnParts, int(c.waited/waitForPart)), maxTurnParts)
}

// reservations are the needs of running large writes. Other writes leave this space to them.
type reservations struct {
	mu     sync.Mutex
	disk   int64            // bytes
	owners map[string]int64 // growth of the owners' data in bytes
}

func (p *reservations) add(owner string, bytes, growth int64) {
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

// bytes returns the reserved bytes of the disk.
func (p *reservations) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.disk
}

// growth returns the reserved bytes of an owner's quota.
func (p *reservations) growth(owner string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owners[owner]
}
