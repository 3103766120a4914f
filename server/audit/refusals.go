package audit

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

const (
	// summaryInterval is how long repeated refusals are counted before one event reports their number.
	summaryInterval = time.Minute
	// maxRefusals is how many kinds of refusals are counted separately. It bounds the lines that refusals can cause:
	// one a minute for each kind.
	maxRefusals = 512
)

// Refusals records refused requests and summarizes repeated ones, so that a caller cannot fill the log by provoking
// refusals. Refusals of one kind have the same tenant, subject (or source, for callers without a subject), operation
// and code. The first one of a kind is recorded at once. While others follow within a minute, one event a minute
// reports their number in FactFailed.
//
// Refusals is safe for concurrent use. The caller must run Run in a goroutine.
type Refusals struct {
	recorder Recorder
	log      *slog.Logger
	now      func() time.Time

	mu     sync.Mutex
	counts map[refusalKind]*refusalCount
}

type refusalKind struct{ tenant, issuer, subject, source, operation, code string }

// refusalCount counts the refusals of a kind since its last event.
type refusalCount struct {
	since time.Time
	times int
	last  Event
}

// NewRefusals returns Refusals that record to a recorder. It reports refusals that could not be recorded to log.
func NewRefusals(recorder Recorder, log *slog.Logger) *Refusals {
	return &Refusals{recorder: recorder, log: log, now: time.Now, counts: map[refusalKind]*refusalCount{}}
}

// Record records that requests were refused, times of them at once. source identifies callers without a subject, for
// example by the network of their address. If there are too many kinds, it counts the others by code alone. If the
// recorder fails, the refusals are counted and recorded later.
func (r *Refusals) Record(ctx context.Context, source string, e Event, times int) {
	kind := refusalKind{e.Tenant, e.Issuer, e.Subject, source, e.Operation, e.Code}
	if e.Subject != "" {
		kind.source = ""
	}
	if !r.isFirst(kind, e, times) {
		return
	}
	if err := r.recorder.Record(ctx, summary(e, times)); err != nil {
		r.addCount(kind, e, times)
		r.log.ErrorContext(ctx, "a refused access is not recorded yet", "id", e.RequestID, "error", err)
	}
}

// isFirst reports whether a refusal is the first of its kind, to be recorded at once. It counts all others.
func (r *Refusals) isFirst(kind refusalKind, e Event, times int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	count, ok := r.counts[kind]
	if ok {
		count.times, count.last = count.times+times, e
		return false
	}
	if len(r.counts) < maxRefusals {
		r.counts[kind] = &refusalCount{since: r.now(), last: e}
		return true
	}
	r.addCountLocked(refusalKind{code: e.Code}, Event{Action: e.Action, Code: e.Code}, times)
	return false
}

// addCount counts refusals that could not be recorded.
func (r *Refusals) addCount(kind refusalKind, e Event, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addCountLocked(kind, e, times)
}

func (r *Refusals) addCountLocked(kind refusalKind, e Event, times int) {
	count, ok := r.counts[kind]
	if !ok {
		count = &refusalCount{since: r.now(), last: e}
		r.counts[kind] = count
	}
	count.times += times
}

// Run records the counted refusals, each minute, and once more when ctx ends. It returns then.
func (r *Refusals) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.flush(ctx, r.now().Add(-summaryInterval))
		case <-ctx.Done():
			r.flush(context.WithoutCancel(ctx), r.now())
			return
		}
	}
}

// flush records the refusals of kinds whose last event is not after until, and forgets the kinds that had no refusals
// since.
func (r *Refusals) flush(ctx context.Context, until time.Time) {
	failed := 0
	var failure error
	for kind, count := range r.takeDue(until) {
		if err := r.recorder.Record(ctx, summary(count.last, count.times)); err != nil {
			r.addCount(kind, count.last, count.times)
			failed, failure = failed+count.times, err
		}
	}
	if failed > 0 {
		r.log.ErrorContext(ctx, "refused accesses are not recorded yet", "count", failed, "error", failure)
	}
}

func (r *Refusals) takeDue(until time.Time) map[refusalKind]refusalCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := map[refusalKind]refusalCount{}
	for kind, count := range r.counts {
		switch {
		case count.since.After(until):
		case count.times == 0:
			delete(r.counts, kind)
		default:
			due[kind] = *count
			count.since, count.times = r.now(), 0
		}
	}
	return due
}

// summary returns the event for a number of refusals.
func summary(e Event, times int) Event {
	if times > 1 {
		e.Facts = e.Facts.with(FactFailed, strconv.Itoa(times))
	}
	return e
}
