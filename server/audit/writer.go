package audit

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

const (
	maxQueued  = 256 // requests that wait for the writer; others wait to be queued
	maxGroup   = 256 // requests that are written at once
	keptBuffer = 1 << 20
)

// request is the events of one Record.
type request struct {
	objects [2][]byte // JSON, each followed by a newline, for the two chains of a process
	events  int
	sync    bool // they must be on the disk
	check   bool // whether the open files are as this process left them is to be found out, though there are no events
	done    chan error
	timer   *time.Timer
}

// requests keeps the memory of requests that were answered.
var requests = sync.Pool{New: func() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &request{done: make(chan error, 1), timer: timer}
}}

// newRequest encodes the events that are to be recorded, and decides whether they must be synced.
func (f *File) newRequest(events []Event) *request {
	r := requests.Get().(*request)
	r.objects[0], r.objects[1], r.events, r.sync, r.check = r.objects[0][:0], r.objects[1][:0], 0, false, false
	for i := range events {
		e := &events[i]
		if e.unrecorded() {
			continue
		}
		to := &r.objects[0]
		if e.Action.kind == lasting {
			to = &r.objects[1]
		}
		*to = f.appendObject(*to, e)
		r.events++
		r.sync = r.sync || f.options.Sync == SyncAll || f.options.Sync == SyncNotable && e.Severity() != Info
	}
	return r
}

// unrecorded reports whether an event is not recorded at all: the ordinary use of low classes.
func (e *Event) unrecorded() bool {
	return e.Action.kind == ordinary && e.Code == "" && e.Class.Valid() && e.Class < classify.Confidential
}

// submit waits until the writer has written a request. The request must not be used afterwards.
func (f *File) submit(r *request) error {
	if busy := f.busy.Load(); busy > 0 && time.Since(f.opened)-time.Duration(busy) > f.options.Timeout {
		return fmt.Errorf("%w: the disk hangs", ErrUnavailable)
	}
	r.timer.Reset(f.options.Timeout)
	if err := f.enqueue(r); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		r.timer.Stop()
		requests.Put(r)
		return err
	case <-r.timer.C:
		return fmt.Errorf("%w: not within %s", ErrUnavailable, f.options.Timeout)
	}
}

// enqueue sends a request to the writer, which answers all that it was sent before it ends.
func (f *File) enqueue(r *request) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return fmt.Errorf("%w: it was closed", ErrUnavailable)
	}
	select {
	case f.queue <- r:
		return nil
	case <-r.timer.C:
		return fmt.Errorf("%w: not within %s", ErrUnavailable, f.options.Timeout)
	}
}

// writer is the one goroutine that writes the chains of a process. It writes the requests that wait together, so that
// they share a write and a sync.
type writer struct {
	*File
	group   []*request
	failing bool   // the last write failed
	lost    uint64 // events since then that may not be in the log
}

func (f *File) write() {
	defer close(f.ended)
	w := writer{File: f}
	for r := range f.queue {
		w.serve(r)
	}
}

// serve writes a request together with those that wait by now.
func (w *writer) serve(r *request) {
	now := time.Since(w.opened)
	w.busy.Store(int64(now))
	runtime.Gosched() // goroutines that are about to record come into the group
	w.group = append(w.group[:0], r)
	for more := true; more && len(w.group) < maxGroup; {
		select {
		case r, open := <-w.queue:
			if more = open; open {
				w.group = append(w.group, r)
			}
		default:
			more = false
		}
	}
	err := w.commit(now)
	w.remember(err)
	w.busy.Store(0)
	for _, r := range w.group {
		r.done <- err
	}
}

// commit writes a group that was taken now, as File.busy counts: one call for each chain that it has lines for.
func (w *writer) commit(now time.Duration) error {
	var objects [2][][]byte
	sync := w.failing && w.options.Sync != SyncLater
	if w.failing {
		objects[0] = append(objects[0], w.appendObject(nil, &Event{Action: auditResumed, lost: w.lost}))
	}
	check := false
	for _, r := range w.group {
		sync, check = sync || r.sync, check || r.check
		for i := range objects {
			if len(r.objects[i]) > 0 {
				objects[i] = append(objects[i], r.objects[i])
			}
		}
	}
	var errs [2]error
	altered := false
	for i, c := range w.chains {
		if len(objects[i]) > 0 || altered || check && c.file != nil {
			errs[i] = c.check(now, w.failing || altered || sync || check)
		}
		if c.altered {
			altered = true
			objects[1] = slices.Insert(objects[1], 0, w.appendObject(nil, alteredEvent(c.written().Last)))
		}
	}
	err := errors.Join(errs[:]...)
	for i, c := range w.chains {
		if err == nil && len(objects[i]) > 0 {
			err = w.append(c, objects[i], sync)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, c := range w.chains {
		if c.altered {
			c.altered = false
			w.reportAltered()
		}
	}
	return nil
}

func (w *writer) append(c *chain, objects [][]byte, sync bool) error {
	file, before := c.current.number, c.end
	err := c.write(objects)
	if c.current.number != file {
		before = 0
	}
	w.size.Add(max(0, c.end-before))
	if c.current.number != file {
		w.keeper.rotated()
	}
	if err == nil && sync {
		err = c.file.Sync()
	}
	return err
}

// alteredEvent says that lines behind the last known one, or the head that named it, are missing or changed.
func alteredEvent(last Anchor) *Event {
	return &Event{Action: auditAltered, Facts: Facts{FactFrom: last.position()}}
}

// reportAltered writes to the server's log, because the audit log may be out of reach. What is found while the head is missing is
// reported once: it has one cause.
func (f *File) reportAltered() {
	if f.alarmed.Swap(true) {
		return
	}
	f.options.Log.Error("the audit log was altered: its head, or lines that were written, are missing or changed; run coffer audit verify")
	if f.options.OnAltered != nil {
		f.options.OnAltered()
	}
}

// remember writes to the server's log when the state changes, not with every event.
func (w *writer) remember(err error) {
	switch {
	case err != nil && !w.failing:
		w.options.Log.Error("the audit log cannot be written", "error", err)
	case err == nil && w.failing:
		w.options.Log.Warn("the audit log is written again", "lost", w.lost)
	}
	if w.failing = err != nil; !w.failing {
		w.lost = 0
		return
	}
	for _, r := range w.group {
		w.lost += uint64(r.events)
	}
}
