package sqlitekv

import (
	"context"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
)

// How many parts a turn writes or removes: stepParts, or one for each waitForPart that the caller waited for the turn, up to maxParts. A
// part takes about a sixteenth of waitForPart, so the turn takes a fraction of the wait.
const (
	stepParts   = 2
	maxParts    = 64
	waitForPart = 2500 * time.Microsecond
)

// isLarge reports whether a write needs a blob.
func isLarge(w *kv.Write) bool { return w.Op == kv.Put && len(w.Value) > chunkSize }

// putLarge makes a write of a large value.
func (s *Store) putLarge(ctx context.Context, w *kv.Write, known comparison) (done bool, err error) {
	if err := s.sweepLeft(ctx, kv.OwnerPrefixOf(w.Key), int64(len(w.Value))/chunkSize); err != nil {
		return false, err
	}
	blob := s.lastBlob.Add(1)
	if blob > maxBlob { // no number is left
		return false, s.failure("write", errRow)
	}
	s.staged.Store(blob, nil)
	t := stage{Store: s, write: w, known: known, blob: blob}
	left, err := t.run(ctx)
	s.promised.add(kv.OwnerPrefixOf(w.Key), -t.bytes, -t.growth)
	s.staged.Delete(blob)
	if t.begun {
		s.sweepOrLeave(ctx, kv.OwnerPrefixOf(w.Key), left)
	}
	return err == nil && left != blob, err
}

// stage is a large value that is being written.
type stage struct {
	*Store
	write         *kv.Write
	known         comparison
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
		_, left, err = c.write(w, t.known, t.blob, t.quota)
		return err
	})
	if err != nil {
		left = t.blob
	}
	return left, err
}

// begin decides whether the write may be made. If so, it discards the blob, which has no parts yet, and is promised the room for the value.
func (t *stage) begin(ctx context.Context) (holds bool, err error) {
	owner := kv.OwnerPrefixOf(t.write.Key)
	err = t.transact(ctx, "write", added(t.write), func(c *conn, full fullFor) (err error) {
		if full.refuses(t.write) {
			return errFull
		}
		var growth int64
		if holds, growth, err = c.allows(t.write, t.known, t.quota, t.promised.growth(owner)); err != nil || !holds {
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

// fairParts returns how many parts this turn writes or removes. Without more after a long wait, many callers would starve a large value.
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
