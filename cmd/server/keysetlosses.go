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
	lossRetry = 10 * time.Second // between two attempts to record losses
	lossBatch = 100              // losses that are recorded at once
)

// losses are documents that the keystore lost while this process had them in memory, and documents that it returned and that do not
// open. The keyring notes them with locks held, so another goroutine records them.
type lossRecorder struct {
	log   *slog.Logger
	found chan struct{} // has an element if there is something to record

	mu       sync.Mutex
	recorded bool // by a server; a command only logs
	waiting  []audit.Event
}

func newLossRecorder(log *slog.Logger) *lossRecorder {
	return &lossRecorder{log: log, found: make(chan struct{}, 1)}
}

// note takes a loss. It never blocks.
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
	if len(l.waiting) == 0 && !l.recorded && one.Rejected == nil { // a command prints that itself
		l.log.Error("the store of keysets lost some, or changes of some, that are in memory: they are written again")
	}
	l.waiting = append(l.waiting, e)
	select {
	case l.found <- struct{}{}:
	default:
	}
}

// record records losses until ctx ends, and those that are left then.
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

// recordWaiting records what is waiting, and reports whether the audit log took all.
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
