package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
)

const (
	defaultPollInterval  = 2 * time.Second  // time between two checks for pending work
	usesInterval         = 10 * time.Second // time between two saves of use counts; a process that is killed loses the counts since the last save
	dueInterval          = time.Minute      // time between two checks for due keysets
	recordRepairInterval = 6 * time.Hour    // time between two calls of repairRecords
	shutdownTime         = 2 * time.Second  // for the last writes of a process that ends
	dueBatch             = 100              // due documents that are read at once
	concurrentTenants    = 8                // tenants whose keysets, records or entries are processed at once
)

// Serve does the pending work for all tenants until ctx ends: it begins due rotations, advances running ones and works
// on sweeps. It announces this process to other servers. Several processes may call Serve for the same stores.
func (r *Rotator) Serve(ctx context.Context, log *slog.Logger) {
	uses, repaired := unsavedUses{}, time.Time{}
	_, err := r.announceServer(ctx)
	_ = r.reportError(ctx, log, err, "")
	var loops sync.WaitGroup
	for _, loop := range []struct {
		interval time.Duration
		do       func(context.Context) (more bool, err error)
	}{
		{announceInterval, r.announceServer},
		{usesInterval, func(ctx context.Context) (bool, error) { return false, uses.save(ctx, r) }},
		{dueInterval, func(ctx context.Context) (bool, error) {
			more, failed := r.beginDueRotations(ctx)
			if more || time.Since(repaired) < recordRepairInterval {
				return more, failed
			}
			err := r.repairRecords(ctx) // after the rotations whose due time is right
			if err == nil {
				repaired = time.Now()
			}
			return err == nil, errors.Join(failed, err)
		}},
		{r.pollInterval, r.advanceDue},
		{r.pollInterval, r.advanceSweep},
	} {
		loops.Go(func() { r.loop(ctx, log, loop.interval, loop.do) })
	}
	loops.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	_ = r.reportError(ctx, log, errors.Join(uses.save(ctx, r), r.withdrawServer(ctx)), "")
}

// loop calls do until ctx ends: every interval, and immediately again if do reports more work.
func (r *Rotator) loop(ctx context.Context, log *slog.Logger, interval time.Duration, do func(context.Context) (more bool, err error)) {
	logged := ""
	for wait := min(interval, r.pollInterval); sleep(ctx, wait) == nil; {
		more := false
		err := recovered(func() (err error) { more, err = do(ctx); return err })()
		logged = r.reportError(ctx, log, err, logged)
		if wait = interval; more {
			wait = 0
		}
	}
}

// reportError counts an error and logs it unless the last error had the same text. It returns the text.
func (r *Rotator) reportError(ctx context.Context, log *slog.Logger, err error, last string) string {
	if err == nil || ctx.Err() != nil {
		return ""
	}
	r.updateStats(func(stats *Stats) { stats.Errors++ })
	if err.Error() != last {
		log.Error("a rotation cannot continue and is tried again", "error", err)
	}
	return err.Error()
}

// RunPending does the work that is due now for all tenants, for a process that does not call Serve. It works on at most
// one part of a sweep and reports whether there may be more to do.
func (r *Rotator) RunPending(ctx context.Context) (did bool, err error) {
	advanced, failed := r.advanceDue(ctx)
	swept := false
	err = recovered(func() (err error) { swept, err = r.advanceSweep(ctx); return err })()
	return advanced || swept, errors.Join(failed, err)
}

// advanceSweep takes one step of the sweep: it begins a requested sweep, visits one part, or finishes the sweep. It
// reports whether it did something.
func (r *Rotator) advanceSweep(ctx context.Context) (did bool, err error) {
	s, err := r.CurrentSweep(ctx)
	if errors.Is(err, errAltered) {
		_, again := r.editSweep(ctx, func(*Sweep) error { return nil }) // replaces the altered document
		return false, errors.Join(err, again)
	}
	if err != nil {
		return false, err
	}
	if r.updateSweepStats(s); r.Store == nil || !s.Running() && !s.shouldBegin(r.now()) {
		return false, nil
	}
	sweeper, ok := r.Store.(kv.Sweeper)
	if !ok {
		return false, errors.New("rotation: the store of the cache does not support sweeps")
	}
	topology, err := sweeper.Topology(ctx)
	if err != nil {
		return false, err
	}
	if s.Running() && (s.Topology != topology.ID || s.partsDone() == len(s.Parts)) {
		return r.finishSweep(ctx, s, topology)
	}
	var claimed *sweepPart
	s, err = r.editSweep(ctx, func(s *Sweep) error {
		if s.shouldBegin(r.now()) {
			s.begin(topology, r.now())
		}
		free := func(p *sweepPart) bool {
			return r.unchangedFor("part "+p.Name, fmt.Sprint(s.Number, p.Holder, p.Heartbeat)) >= r.leaseTime
		}
		if claimed = s.claimablePart(r.id, free); claimed == nil {
			return errConcurrentChange
		}
		claimed.Holder = r.id
		claimed.Heartbeat++
		return nil
	})
	if err == nil {
		err = r.visitPart(ctx, s, *claimed, sweeper)
	}
	if errors.Is(err, errConcurrentChange) {
		return false, nil
	}
	return err == nil, err
}

// visitPart visits a part while it renews the lease. If this process ends, the lease expires.
func (r *Rotator) visitPart(ctx context.Context, s *Sweep, p sweepPart, sweeper kv.Sweeper) error {
	r.updateStats(func(stats *Stats) { stats.Sweeping = true })
	defer r.updateStats(func(stats *Stats) { stats.Sweeping = false })
	held, lost := context.WithCancelCause(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() { r.renewLease(held, lost, s.Number, p.Name) })
	err := newVisit(r, s, p).run(held, sweeper)
	if errors.Is(context.Cause(held), errConcurrentChange) {
		err = nil
	}
	lost(nil)
	renewal.Wait()
	return err
}

// renewLease renews the lease of a part until ctx ends. If another process has taken the part, renewLease cancels the
// visit.
func (r *Rotator) renewLease(ctx context.Context, lost context.CancelCauseFunc, number uint64, name string) {
	for sleep(ctx, r.leaseTime/3) == nil {
		if _, err := r.editPart(ctx, number, name, func(*Sweep, *sweepPart) {}); errors.Is(err, errConcurrentChange) {
			lost(errConcurrentChange)
			return
		}
	}
}

// finishSweep finishes a sweep if all parts are done or the topology has changed. Several processes may do so at once.
func (r *Rotator) finishSweep(ctx context.Context, s *Sweep, topology kv.Topology) (did bool, err error) {
	unshared := r.unsharedReason(ctx)
	if unshared != "" && s.Topology != topology.ID { // the sweep may be that of another cache
		return false, nil
	}
	s.finish(topology, unshared, r.now())
	states, unblocked, err := r.countStates(ctx, s)
	if err != nil {
		return false, err
	}
	ended, err := r.editSweep(ctx, func(now *Sweep) error {
		if now.Number == s.Number && now.Running() {
			now.finish(topology, unshared, r.now())
			now.States = states
		}
		return nil
	})
	if err == nil {
		r.mu.Lock()
		r.unblocked = append(r.unblocked, unblocked...)
		r.mu.Unlock()
		r.updateSweepStats(ended)
	}
	return err == nil, err
}

// countStates counts tenants by the state of their rotation at the end of a sweep, and returns those whose rotations
// can continue because of it. It also corrects next checks that a clock far ahead has set.
func (r *Rotator) countStates(ctx context.Context, s *Sweep) (states map[State]int, unblocked []string, err error) {
	states = map[State]int{}
	now, requestCount := r.now(), 0
	latest := now + (r.Keyring.TTL() + Margin + r.Grace + maxAhead).Milliseconds()
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Rotations) {
		if err != nil && document.Err == nil {
			return nil, nil, err
		}
		record, err := r.parseRecord(ctx, document.Name, document.Content)
		if err != nil {
			continue // the error is reported when the record is due
		}
		if record.NextCheck > latest {
			_ = r.setDue(ctx, keystore.Rotations, record.Tenant, now) // after a failure, the next sweep corrects it
		}
		d := decide(record, s, now)
		if d.state != Idle {
			states[d.state]++
		}
		requests := d.requestsSweep(s)
		if record.NextCheck <= now+s.recheckPause() && (len(d.destroy) > 0 || requests || d.state == Done && record.Ended == 0) {
			unblocked = append(unblocked, record.Tenant)
			if requests {
				requestCount++
			}
			if requests && requestCount%dueBatch == 0 { // one request serves all, but fails for a tenant whose keysets cannot be read
				s.request(d.sweepNumber, d.fullRate)
			}
		}
	}
	return states, unblocked, nil
}

// recovered returns a function that calls do and turns a panic into an error. An unexpected value in the store must not
// end the process, because the process would fail again after each restart. The error names the place in the code but
// not the value of the panic, which may contain data.
func recovered(do func() error) func() error {
	return func() (err error) {
		defer func() {
			if recover() != nil {
				err = fmt.Errorf("rotation: panic at %s", placeOfPanic())
			}
		}()
		return do()
	}
}

// placeOfPanic returns the function and line that panicked. It must be called by a deferred function that recovers.
func placeOfPanic() string {
	var counters [16]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(3, counters[:])])
	for {
		f, more := frames.Next()
		if !more || !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		}
	}
}
