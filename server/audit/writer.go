package audit

import (
	"fmt"
	"time"
)

// writer is the one goroutine that writes a File. It writes what has gathered since the last write at once, so that many requests
// share a sync.
type writer struct {
	f       *File
	torn    bool   // the log ends within a line
	failing bool   // the last write failed
	lost    uint64 // events since the log failed that may not be in it
	dirty   bool   // something is not synced
	buffer  []byte // a buffer, used again
}

func (w *writer) run() {
	defer close(w.f.ended)
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	for {
		select {
		case b, open := <-w.f.queue:
			if !open {
				w.sync()
				return
			}
			w.group(b)
		case <-ticker.C:
			w.sync()
		}
	}
}

// sync puts on the disk what was written. Who was promised that it is there was told by commit.
func (w *writer) sync() {
	if w.dirty && w.f.file.Sync() == nil {
		w.dirty = false
	}
}

// group takes what waits behind b, up to maxGroup bytes, commits all of it and tells everybody.
func (w *writer) group(b batch) {
	waiting, size, events, sync := []batch{b}, len(b.lines), b.events, b.sync
	for size < maxGroup {
		select {
		case next, open := <-w.f.queue:
			if open {
				waiting, size, events, sync = append(waiting, next), size+len(next.lines), events+next.events, sync || next.sync
				continue
			}
		default:
		}
		break
	}
	err := w.commit(waiting, sync || w.failing && w.f.options.Sync != SyncLater)
	w.remember(err, events)
	for _, one := range waiting {
		one.done <- err
	}
}

// commit writes the batches in one call, behind whatever must come first.
func (w *writer) commit(waiting []batch, sync bool) error {
	lines := w.buffer[:0]
	if w.torn {
		lines = append(lines, '\n')
	}
	if w.failing {
		lines = w.f.appendLine(lines, &Event{Action: auditResumed}, w.lost)
	}
	for _, one := range waiting {
		lines = append(lines, one.lines...)
	}
	if cap(lines) <= maxGroup {
		w.buffer = lines
	}
	if len(lines) == 0 {
		return nil
	}
	n, err := w.f.file.Write(lines)
	if n > 0 {
		w.torn, w.dirty = lines[n-1] != '\n', true
	}
	if err == nil && sync {
		if err = w.f.file.Sync(); err == nil {
			w.dirty = false
		}
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
