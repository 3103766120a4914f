package audit

import (
	"fmt"
	"runtime"
	"time"
)

// writer is the one goroutine that writes a File, a group at a time, so that many requests share a write and a sync.
type writer struct {
	f       *File
	trail   *trail
	failing bool      // the last write failed
	lost    uint64    // events since the log failed that may not be in it
	dirty   bool      // something is not synced
	told    time.Time // when the head was last
}

func (w *writer) run() {
	defer close(w.f.ended)
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	idle := time.NewTimer(lease)
	defer idle.Stop()
	w.tellHead()
	for {
		select {
		case _, open := <-w.f.wake:
			w.group()
			if !open {
				w.end()
				return
			}
			if w.trail.due() {
				w.trail.release()
			}
			idle.Reset(lease)
		case <-idle.C:
			w.trail.release()
		case err := <-w.trail.noting:
			w.dirty = w.trail.noted(err) != nil || w.dirty
			idle.Reset(lease)
		case <-ticker.C:
			w.syncLater()
			idle.Reset(lease)
			if time.Since(w.told) >= w.f.options.Heads {
				w.tellHead()
			}
		}
	}
}

func (w *writer) end() {
	w.dirty = w.trail.settleNote() != nil || w.dirty
	w.trail.tellLost()
	w.sync()
	w.tellHead()
	if err := w.trail.close(); err != nil {
		w.f.options.Log.Error("the audit log was not closed", "error", err)
	}
}

// syncLater begins what sync does, and lets nobody wait for the disk.
func (w *writer) syncLater() {
	if w.dirty && w.trail.noting == nil && w.trail.noteLater() == nil {
		w.dirty = false
	}
}

// sync puts on the disk what was written, and notes the last line as the head. Who was promised that it is
// there was told by commit.
func (w *writer) sync() {
	w.dirty = w.trail.settleNote() != nil || w.dirty
	if w.dirty && w.trail.noteLocked() == nil {
		w.dirty = false
	}
}

// tellHead tells the head to a log that is kept elsewhere.
func (w *writer) tellHead() {
	if w.f.options.Heads == 0 {
		return
	}
	w.told = time.Now()
	if head, err := w.f.Head(); err == nil {
		w.f.options.Log.Info("audit head", "head", head.Anchor.String())
	}
}

// group commits what gathered, and tells everybody.
func (w *writer) group() {
	runtime.Gosched() // who is about to record comes into the group
	g := w.f.take()
	if g == nil {
		return
	}
	err := w.commit(&g.batch)
	w.remember(err, g.events)
	g.timer.Stop()
	g.end(err)
	w.f.reuse(g.objects)
}

// commit writes a group in one call, behind whatever must come first.
func (w *writer) commit(b *batch) error {
	objects := b.objects
	if w.failing {
		r := newRecord(&Event{Action: auditResumed})
		r.Lost = w.lost
		objects = append(append(r.object(), '\n'), objects...)
	}
	if len(objects) == 0 {
		return nil
	}
	err := w.trail.write(objects)
	w.dirty = true // be it in part
	if err == nil && (b.sync || w.failing && w.f.options.Sync != SyncLater) {
		w.trail.release() // others need not wait for the disk
		err = w.trail.sync()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// remember tells the server's log when the state changes, not with every event.
func (w *writer) remember(err error, events int) {
	switch {
	case err != nil && !w.failing:
		w.f.options.Log.Error("the audit log cannot be written", "error", err)
	case err == nil && w.failing:
		w.f.options.Log.Warn("the audit log is written again", "lost", w.lost)
	}
	if w.failing = err != nil; w.failing {
		w.lost += uint64(events)
	} else {
		w.lost = 0
	}
}
