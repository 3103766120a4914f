package audit

import (
	"fmt"
	"sync"
	"time"
)

// batch is the objects of one Record, one a line.
type batch struct {
	objects []byte
	events  int
	sync    bool // they must be on the disk
}

// group is the batches that are written at once: those that came while what was before them was written.
type group struct {
	batch
	timer *time.Timer
	once  sync.Once
	done  chan struct{} // closed when it was written, or its time is over
	err   error         // then
}

// join puts a batch into the group that gathers, and begins one where there is none. Whoever waits for the
// group waits no longer than the time-out. Where that has passed before the writer took the group, nobody is
// let in: the log cannot be written.
func (f *File) join(b batch) (*group, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("%w: it was closed", ErrUnavailable)
	}
	g := f.gathering
	if g == nil {
		g = f.newGroup()
		f.gathering = g
		select {
		case f.wake <- struct{}{}:
		default: // it was told, and has not looked yet
		}
	}
	select {
	case <-g.done:
	default:
		g.objects, g.events, g.sync = append(g.objects, b.objects...), g.events+b.events, g.sync || b.sync
	}
	return g, nil
}

// newGroup is called with the lock.
func (f *File) newGroup() *group {
	g := &group{batch: batch{objects: f.spare}, done: make(chan struct{})}
	f.spare = nil
	g.timer = time.AfterFunc(f.options.Timeout, func() { g.end(fmt.Errorf("%w: not within %s", ErrUnavailable, f.options.Timeout)) })
	return g
}

// take gives the group that gathers, which nobody can join any more; nil where nobody waits.
func (f *File) take() *group {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.gathering
	f.gathering = nil
	return g
}

// reuse has a later group begin with the memory of one that was written.
func (f *File) reuse(objects []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cap(objects) <= keptBuffer {
		f.spare = objects[:0]
	}
}

// end tells everybody who waits, once.
func (g *group) end(err error) {
	g.once.Do(func() {
		g.err = err
		close(g.done)
	})
}
