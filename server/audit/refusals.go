package audit

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

const (
	// summaryInterval is how long repeated refusals are counted before an event has their number.
	summaryInterval = time.Minute
	// maxRefusals bounds the kinds of refusals that are told apart, and with it the lines that refusals can cause: one a
	// minute for each of them.
	maxRefusals = 512
)

// Refusals records refused accesses, and summarises repeated ones, so that no caller can fill the log by provoking them.
// The first refusal of a kind is recorded at once: of a tenant, a subject (or without one a source), an operation and a
// code. As long as others follow within a minute, each minute has one event for them, with their number in FactFailed. It
// is safe for concurrent use. Run must run beside it.
type Refusals struct {
	recorder Recorder
	log      *slog.Logger
	now      func() time.Time

	mu    sync.Mutex
	known map[refusalKind]*refusalCount
}

type refusalKind struct{ tenant, issuer, subject, source, operation, code string }

// refusalCount is what is known of a kind since its last event.
type refusalCount struct {
	since time.Time
	times int
	last  Event
}

// NewRefusals returns Refusals that record to a recorder. The log receives what could not be recorded.
func NewRefusals(recorder Recorder, log *slog.Logger) *Refusals {
	return &Refusals{recorder: recorder, log: log, now: time.Now, known: map[refusalKind]*refusalCount{}}
}

// Record records that an access was refused, that many times. The source stands for callers without a subject, such as the
// network of their address. Refusals of more kinds than fit are counted together, by code.
func (r *Refusals) Record(ctx context.Context, source string, e Event, times int) {
	kind := refusalKind{e.Tenant, e.Issuer, e.Subject, source, e.Operation, e.Code}
	if e.Subject != "" {
		kind.source = ""
	}
	if !r.isFirst(kind, e, times) {
		return
	}
	if err := r.recorder.Record(ctx, summary(e, times)); err != nil {
		r.put(kind, e, times)
		r.log.ErrorContext(ctx, "a refused access is not recorded yet", "id", e.RequestID, "error", err)
	}
}

// isFirst reports whether a refusal is to be recorded at once. All others it counts.
func (r *Refusals) isFirst(kind refusalKind, e Event, times int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	count, ok := r.known[kind]
	if ok {
		count.times, count.last = count.times+times, e
		return false
	}
	if len(r.known) < maxRefusals {
		r.known[kind] = &refusalCount{since: r.now(), last: e}
		return true
	}
	r.putLocked(refusalKind{code: e.Code}, Event{Action: e.Action, Code: e.Code}, times)
	return false
}

// put counts refusals whose event could not be recorded.
func (r *Refusals) put(kind refusalKind, e Event, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(kind, e, times)
}

func (r *Refusals) putLocked(kind refusalKind, e Event, times int) {
	count, ok := r.known[kind]
	if !ok {
		count = &refusalCount{since: r.now(), last: e}
		r.known[kind] = count
	}
	count.times += times
}

// Run records what was counted, each minute and once more when its context ends.
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

// flush records the refusals that were counted since a time or earlier, and forgets the kinds without any.
func (r *Refusals) flush(ctx context.Context, until time.Time) {
	failed := 0
	var failure error
	for kind, count := range r.take(until) {
		if err := r.recorder.Record(ctx, summary(count.last, count.times)); err != nil {
			r.put(kind, count.last, count.times)
			failed, failure = failed+count.times, err
		}
	}
	if failed > 0 {
		r.log.ErrorContext(ctx, "refused accesses are not recorded yet", "count", failed, "error", failure)
	}
}

func (r *Refusals) take(until time.Time) map[refusalKind]refusalCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := map[refusalKind]refusalCount{}
	for kind, count := range r.known {
		switch {
		case count.since.After(until):
		case count.times == 0:
			delete(r.known, kind)
		default:
			due[kind] = *count
			count.since, count.times = r.now(), 0
		}
	}
	return due
}

// summary returns an event of refusals, with their number if there are several.
func summary(e Event, times int) Event {
	if times > 1 {
		e.Facts = e.Facts.with(FactFailed, strconv.Itoa(times))
	}
	return e
}
