package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/codes"
)

const (
	lossRetry = 10 * time.Second // between two attempts to record incidents
	lossBatch = 100              // events in one call of the recorder
)

// lossRecorder records in the audit log which keysets the keystore lost while they were in memory, which ones were written back, and which
// ones do not open. The keyring reports them while it holds locks, so another goroutine records them. It is safe for concurrent use.
type lossRecorder struct {
	log   *slog.Logger
	found chan struct{} // signals waiting events

	mu       sync.Mutex
	recorded bool // a server records; a command only logs
	waiting  []audit.Event
}

func newLossRecorder(log *slog.Logger) *lossRecorder {
	return &lossRecorder{log: log, found: make(chan struct{}, 1)}
}

// add queues an event. It never blocks.
func (l *lossRecorder) add(one keyring.Incident) {
	e := audit.Event{Action: audit.KeysetLost, Code: codes.Of(keystore.ErrUnavailable).Code, Operation: "serve", Tenant: one.Tenant}
	switch {
	case one.Restored:
		e.Action, e.Code = audit.KeysetRestored, ""
	case one.Rejected != nil:
		e.Action, e.Code = audit.KeysetUnopened, codes.Of(one.Rejected).Code
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 && !l.recorded && one.Rejected == nil { // a command prints its own error
		l.log.Error("the keystore lost keysets, or changes of keysets, that are in memory: they are written again")
	}
	l.waiting = append(l.waiting, e)
	select {
	case l.found <- struct{}{}:
	default:
	}
}

// record records events until ctx ends, and then the remaining ones.
func (l *lossRecorder) record(ctx context.Context, recorder audit.Recorder) {
	l.mu.Lock()
	l.recorded = true
	l.mu.Unlock()
	for ctx.Err() == nil {
		var retry <-chan time.Time
		if !l.recordWaiting(ctx, recorder) {
			retry = time.After(lossRetry)
		}
		select {
		case <-l.found:
		case <-retry:
		case <-ctx.Done():
		}
	}
	l.recordWaiting(context.WithoutCancel(ctx), recorder)
}

// recordWaiting records the waiting events. It reports whether all of them were recorded.
func (l *lossRecorder) recordWaiting(ctx context.Context, recorder audit.Recorder) bool {
	l.mu.Lock()
	events := l.waiting
	l.mu.Unlock()
	for batch := range slices.Chunk(events, lossBatch) {
		if recorder.Record(ctx, batch...) != nil {
			return false
		}
		l.mu.Lock()
		l.waiting = l.waiting[len(batch):]
		l.mu.Unlock()
	}
	return true
}
