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
	maxQueued  = 256 // requests in the queue; other callers wait
	maxGroup   = 256 // requests that are written together
	keptBuffer = 1 << 20
)

// request contains the events of one call of Record.
type request struct {
	objects [2][]byte // JSON objects for the two chains, each followed by a newline
	events  int
	sync    bool // the lines must be on the disk before Record returns
	check   bool // check the open files even if the request has no events for them
	done    chan error
	timer   *time.Timer
}

// requests is a pool of requests that were answered.
var requests = sync.Pool{New: func() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &request{done: make(chan error, 1), timer: timer}
}}

// newRequest encodes the events that are recorded, and decides whether they must be synced.
func (f *File) newRequest(events []Event) *request {
	r := requests.Get().(*request)
	r.objects[0], r.objects[1], r.events, r.sync, r.check = r.objects[0][:0], r.objects[1][:0], 0, false, false
	for i := range events {
		e := &events[i]
		if e.isIgnored() {
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

// isIgnored reports whether an event is not recorded: successful ordinary use of data below confidential.
func (e *Event) isIgnored() bool {
	return e.Action.kind == ordinary && e.Code == "" && e.Class.Valid() && e.Class < classify.Confidential
}

// submit waits until the writer has written a request, or for the time-out. The caller must not use the request
// afterwards.
func (f *File) submit(r *request) error {
	if busy := f.busySince.Load(); busy > 0 && time.Since(f.opened)-time.Duration(busy) > f.options.Timeout {
		return fmt.Errorf("%w: the disk does not respond", ErrUnavailable)
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
		return fmt.Errorf("%w: it took longer than %s", ErrUnavailable, f.options.Timeout)
	}
}

// enqueue sends a request to the writer. The writer answers all requests in the queue before it ends.
func (f *File) enqueue(r *request) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return fmt.Errorf("%w: the log was closed", ErrUnavailable)
	}
	select {
	case f.queue <- r:
		return nil
	case <-r.timer.C:
		return fmt.Errorf("%w: it took longer than %s", ErrUnavailable, f.options.Timeout)
	}
}

// writer is the goroutine that appends to the chains of a process. It writes all waiting requests as a group, so that
// they share one write and one sync.
type writer struct {
	*File
	group   []*request
	failing bool   // the last write failed
	lost    uint64 // number of events since then that may be missing from the log
}

func (f *File) runWriter() {
	defer close(f.writerDone)
	w := writer{File: f}
	for r := range f.queue {
		w.writeGroup(r)
	}
}

// writeGroup writes a request together with those that are already waiting.
func (w *writer) writeGroup(r *request) {
	now := time.Since(w.opened)
	w.busySince.Store(int64(now))
	runtime.Gosched() // goroutines that are about to record can join the group
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
	w.logTransition(err)
	w.busySince.Store(0)
	for _, r := range w.group {
		r.done <- err
	}
}

// commit writes a group with at most one call for each chain. now is when the group was taken, since File.opened.
//
// The order of the steps matters. First it checks that the files are intact. If one is not, the second chain, which
// retention never deletes, records the alteration in the same commit.
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
			errs[i] = c.checkFile(now, w.failing || altered || sync || check)
		}
		if c.alterationPending {
			altered = true
			objects[1] = slices.Insert(objects[1], 0, w.appendObject(nil, alteredEvent(c.publishedEnd().Last)))
		}
	}
	err := errors.Join(errs[:]...)
	for i, c := range w.chains {
		if err == nil && len(objects[i]) > 0 {
			err = w.appendLines(c, objects[i], sync)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, c := range w.chains {
		if c.alterationPending {
			c.alterationPending = false
			w.reportAltered()
		}
	}
	return nil
}

func (w *writer) appendLines(c *chain, objects [][]byte, sync bool) error {
	file, before := c.current.number, c.end
	err := c.write(objects)
	if c.current.number != file {
		before = 0
	}
	w.size.Add(max(0, c.end-before))
	if c.current.number != file {
		w.keeper.wakeUp()
	}
	if err == nil && sync {
		err = c.file.Sync()
	}
	return err
}

// alteredEvent returns the event that records that lines behind last, or the head that names it, are missing or
// changed.
func alteredEvent(last Anchor) *Event {
	return &Event{Action: auditAltered, Facts: Facts{FactFrom: last.position()}}
}

// reportAltered reports an alteration to the server's log and to OnAltered, because the audit log may be lost with the
// record of it. It reports alterations once until the head is intact again, because they have one cause.
func (f *File) reportAltered() {
	if f.alterationReported.Swap(true) {
		return
	}
	f.options.Log.Error("the audit log was altered: its head, or lines that were written, are missing or changed; run coffer audit verify")
	if f.options.OnAltered != nil {
		f.options.OnAltered()
	}
}

// logTransition writes to the server's log when writing begins to fail or works again, not for every event.
func (w *writer) logTransition(err error) {
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
