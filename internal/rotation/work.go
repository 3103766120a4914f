package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
)

const (
	look           = 2 * time.Second  // between two looks for something to do
	usesInterval   = 10 * time.Second // between two records of what keys have sealed; a process that is killed forgets as much
	dueInterval    = time.Minute      // between two looks for keysets that are due
	repairInterval = 6 * time.Hour    // between two repairs of what those looks rely on
	leaveTime      = 2 * time.Second  // for the last writes of a process that ends
	dueBatch       = 100              // documents that are looked at at once
	tenantsAtOnce  = 8                // tenants whose keysets, records or entries are read or written at once
)

// Serve does what there is to do for all tenants, until ctx ends. It announces this process to others.
func (r *Rotator) Serve(ctx context.Context, log *slog.Logger) {
	uses, repaired := used{}, time.Time{}
	_, err := r.announceServer(ctx)
	_ = r.report(ctx, log, err, "")
	var loops sync.WaitGroup
	for _, loop := range []struct {
		interval time.Duration
		do       func(context.Context) (more bool, err error)
	}{
		{announceInterval, r.announceServer},
		{usesInterval, func(ctx context.Context) (bool, error) { return false, uses.save(ctx, r) }},
		{dueInterval, func(ctx context.Context) (bool, error) {
			more, failed := r.beginDue(ctx)
			if more || time.Since(repaired) < repairInterval {
				return more, failed
			}
			err := r.repair(ctx) // after those whose due time is right
			if err == nil {
				repaired = time.Now()
			}
			return err == nil, errors.Join(failed, err)
		}},
		{r.look, r.settleDue},
		{r.look, r.sweep},
	} {
		loops.Go(func() { r.every(ctx, log, loop.interval, loop.do) })
	}
	loops.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	_ = r.report(ctx, log, errors.Join(uses.save(ctx, r), r.leave(ctx)), "")
}

// every calls do until ctx ends, the first time after a short while, and again at once while there is more to do.
func (r *Rotator) every(ctx context.Context, log *slog.Logger, interval time.Duration, do func(context.Context) (more bool, err error)) {
	logged := ""
	for wait := min(interval, r.look); sleep(ctx, wait) == nil; {
		more := false
		err := recovered(func() (err error) { more, err = do(ctx); return err })()
		logged = r.report(ctx, log, err, logged)
		if wait = interval; more {
			wait = 0
		}
	}
}

// report counts an error, and logs it if its text is not that of the last one. It returns the text.
func (r *Rotator) report(ctx context.Context, log *slog.Logger, err error, last string) string {
	if err == nil || ctx.Err() != nil {
		return ""
	}
	r.see(func(seen *Stats) { seen.Errors++ })
	if err.Error() != last {
		log.Error("rotation is held up, and is tried again", "error", err)
	}
	return err.Error()
}

// Work does what can be done now for all tenants, and reports whether it did something. It is for a process that
// does not serve.
func (r *Rotator) RunPending(ctx context.Context) (did bool, err error) {
	settled, failed := r.settleDue(ctx)
	swept := false
	err = recovered(func() (err error) { swept, err = r.sweep(ctx); return err })()
	return settled || swept, errors.Join(failed, err)
}

// sweep begins a sweep if one is wanted, works on a part of the one that is under way, to the part's end, or ends it.
func (r *Rotator) sweep(ctx context.Context) (did bool, err error) {
	s, err := r.CurrentSweep(ctx)
	if errors.Is(err, errAltered) {
		_, again := r.editSweep(ctx, func(*Sweep) error { return nil }) // replaces it
		return false, errors.Join(err, again)
	}
	if err != nil {
		return false, err
	}
	if r.seeSweep(s); r.Store == nil || !s.Running() && !s.begins(r.now()) {
		return false, nil
	}
	sweeper, ok := r.Store.(kv.Sweeper)
	if !ok {
		return false, errors.New("rotation: the store of the cache cannot be swept")
	}
	topology, err := sweeper.Topology(ctx)
	if err != nil {
		return false, err
	}
	if s.Running() && (s.Topology != topology.ID || s.done() == len(s.Parts)) {
		return r.endSweep(ctx, s, topology)
	}
	var claimed *Part
	s, err = r.editSweep(ctx, func(s *Sweep) error {
		if s.begins(r.now()) {
			s.begin(topology, r.now())
		}
		free := func(p *Part) bool {
			return r.hear("part "+p.Name, fmt.Sprint(s.Number, p.Holder, p.Heartbeat)) >= r.lease
		}
		if claimed = s.claim(r.id, free); claimed == nil {
			return errMoved
		}
		claimed.Holder = r.id
		claimed.Heartbeat++
		return nil
	})
	if err == nil {
		err = r.workOn(ctx, s, *claimed, sweeper)
	}
	if errors.Is(err, errMoved) {
		return false, nil
	}
	return err == nil, err
}

// workOn works on a part, while its lease is renewed. If this process ends, the lease runs out.
func (r *Rotator) workOn(ctx context.Context, s *Sweep, p Part, sweeper kv.Sweeper) error {
	r.see(func(seen *Stats) { seen.Sweeping = true })
	defer r.see(func(seen *Stats) { seen.Sweeping = false })
	held, lost := context.WithCancelCause(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() { r.renew(held, lost, s.Number, p.Name) })
	err := newVisit(r, s, p).run(held, sweeper)
	if errors.Is(context.Cause(held), errMoved) {
		err = nil
	}
	lost(nil)
	renewal.Wait()
	return err
}

// renew renews the lease of a part until ctx ends. If another process has the part, it cancels the work.
func (r *Rotator) renew(ctx context.Context, lost context.CancelCauseFunc, number uint64, name string) {
	for sleep(ctx, r.lease/3) == nil {
		if _, err := r.editPart(ctx, number, name, func(*Sweep, *Part) {}); errors.Is(err, errMoved) {
			lost(errMoved)
			return
		}
	}
}

// endSweep ends a sweep whose parts are done, or are not those of the store anymore. Several processes may do so at once.
func (r *Rotator) endSweep(ctx context.Context, s *Sweep, topology kv.Topology) (did bool, err error) {
	apart := r.apart(ctx)
	if apart != "" && s.Topology != topology.ID { // it may be the sweep of another cache
		return false, nil
	}
	s.end(topology, apart, r.now())
	states, released, err := r.count(ctx, s)
	if err != nil {
		return false, err
	}
	ended, err := r.editSweep(ctx, func(now *Sweep) error {
		if now.Number == s.Number && now.Running() {
			now.end(topology, apart, r.now())
			now.States = states
		}
		return nil
	})
	if err == nil {
		r.mu.Lock()
		r.released = append(r.released, released...)
		r.mu.Unlock()
		r.seeSweep(ended)
	}
	return err == nil, err
}

// count counts tenants by the state of their rotation at the end of a sweep, and lists those whose rotations go on because of it. It
// looks at those that a clock far ahead postponed.
func (r *Rotator) count(ctx context.Context, s *Sweep) (states map[State]int, released []string, err error) {
	states = map[State]int{}
	now, asking := r.now(), 0
	latest := now + (r.Keyring.TTL() + Margin + r.Grace + maxAhead).Milliseconds()
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Rotations) {
		if err != nil && document.Err == nil {
			return nil, nil, err
		}
		record, err := r.parse(ctx, document.Name, document.Content)
		if err != nil {
			continue // it is reported when it is due
		}
		if record.NextCheck > latest {
			_ = r.postpone(ctx, keystore.Rotations, record.Tenant, now) // counted by the next sweep, if it fails
		}
		n := decide(record, s, now)
		if n.state != Idle {
			states[n.state]++
		}
		asks := n.requests(s)
		if record.NextCheck <= now+s.pause() && (len(n.destroy) > 0 || asks || n.state == Done && record.Ended == 0) {
			released = append(released, record.Tenant)
			if asks {
				asking++
			}
			if asks && asking%dueBatch == 0 { // one request serves all, but some tenants may have keysets that cannot be read
				s.request(n.sweep, n.full)
			}
		}
	}
	return states, released, nil
}
