package audit

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// batch is the objects of one Record, one a line.
type batch struct {
	objects []byte
	events  int
	sync    bool // they must be on the disk
}

// group is the batches that are written at once: those that came while the ones before were written.
type group struct {
	batch
	timer *time.Timer
	once  sync.Once
	done  chan struct{} // closed when it was written, or timed out
	err   error         // valid then
}

// end wakes all that wait, once.
func (g *group) end(err error) {
	g.once.Do(func() {
		g.err = err
		close(g.done)
	})
}

// join adds a batch to the group that gathers, and begins one if necessary. A group that timed out before the
// writer took it does not grow: the log cannot be written.
func (f *File) join(b batch) (*group, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("%w: it was closed", ErrUnavailable)
	}
	g := f.gathering
	if g == nil {
		g = &group{batch: batch{objects: f.spare}, done: make(chan struct{})}
		g.timer = time.AfterFunc(f.options.Timeout, func() { g.end(fmt.Errorf("%w: not within %s", ErrUnavailable, f.options.Timeout)) })
		f.gathering, f.spare = g, nil
		select {
		case f.wake <- struct{}{}:
		default: // the writer has not looked since the last one
		}
	}
	select {
	case <-g.done:
	default:
		g.objects, g.events, g.sync = append(g.objects, b.objects...), g.events+b.events, g.sync || b.sync
	}
	return g, nil
}

// take returns the group that gathers, and closes it to others; nil if no caller waits.
func (f *File) take() *group {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.gathering
	f.gathering = nil
	return g
}

// wrote publishes the last line, and keeps the memory of a group for a later one.
func (f *File) wrote(objects []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.written = f.chain.head(); cap(objects) <= keptBuffer {
		f.spare = objects[:0]
	}
}

// namingInterval bounds how often lines name the heads of other chains, and so the memory that verifying takes.
const namingInterval = time.Minute

// writer is the one goroutine that writes a chain, a group at a time, so that many requests share a write and a sync.
type writer struct {
	*File
	failing bool      // the last write failed
	lost    uint64    // events since then that may not be in the log
	named   *string   // the heads of other chains that a line named last
	namedAt time.Time // when
}

func (f *File) write() {
	defer close(f.ended)
	w := writer{File: f}
	for open := true; open; {
		_, open = <-f.wake
		w.group()
	}
}

// group commits what gathered, and wakes all that wait.
func (w *writer) group() {
	runtime.Gosched() // goroutines that are about to record come into the group
	g := w.take()
	if g == nil {
		return
	}
	err := w.commit(&g.batch)
	w.remember(err, g.events)
	g.timer.Stop()
	w.wrote(g.objects)
	g.end(err)
}

// commit writes a group in one call.
func (w *writer) commit(b *batch) error {
	objects := b.objects
	if w.failing {
		r := newRecord(&Event{Action: auditResumed})
		r.Lost = w.lost
		objects = append(append(r.object(), '\n'), objects...)
	}
	c := w.chain
	if c.headLost = w.headLost.Swap(false) || c.headLost; len(objects) == 0 && !c.headLost {
		return nil
	}
	heads, others := "", w.others.Load()
	if others != nil && others != w.named && len(objects) > 0 && time.Since(w.namedAt) >= namingInterval {
		heads = *others
	}
	rotated, err := c.write(objects, heads)
	if rotated {
		w.keeper.rotated()
	}
	if err == nil && heads != "" {
		w.named, w.namedAt = others, time.Now()
	}
	if err == nil && (b.sync || w.failing && w.options.Sync != SyncLater) {
		err = c.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// remember writes to the server's log when the state changes, not with every event.
func (w *writer) remember(err error, events int) {
	switch {
	case err != nil && !w.failing:
		w.options.Log.Error("the audit log cannot be written", "error", err)
	case err == nil && w.failing:
		w.options.Log.Warn("the audit log is written again", "lost", w.lost)
	}
	if w.failing = err != nil; w.failing {
		w.lost += uint64(events)
	} else {
		w.lost = 0
	}
}
