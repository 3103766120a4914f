package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
)

const (
	look          = 2 * time.Second  // between two looks for something to do
	usesInterval  = 10 * time.Second // between two records of what keys have sealed; a process that is killed forgets as much
	dueInterval   = time.Minute      // between two looks for keysets that are due
	leaveTime     = 2 * time.Second  // for the last writes of a process that ends
	dueBatch      = 100              // documents that are looked at at once
	settlesAtOnce = 8                // rotations that are looked at at the end of a sweep
)

// Serve does what there is to do for all tenants, until ctx ends. It announces this process to others.
func (r *Rotator) Serve(ctx context.Context, log *slog.Logger) {
	uses := used{}
	_, err := r.announceServer(ctx)
	r.report(ctx, log, err)
	var loops sync.WaitGroup
	for _, loop := range []struct {
		interval time.Duration
		do       func(context.Context) (more bool, err error)
	}{
		{announceInterval, r.announceServer},
		{usesInterval, func(ctx context.Context) (bool, error) { return false, uses.save(ctx, r) }},
		{dueInterval, r.beginDue},
		{r.look, r.settleDue},
		{r.look, r.sweep},
	} {
		loops.Go(func() { r.every(ctx, log, loop.interval, loop.do) })
	}
	loops.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	r.report(ctx, log, errors.Join(uses.save(ctx, r), r.leave(ctx)))
}

// every calls do until ctx ends, the first time after a short while, and again at once while there is more to do.
func (r *Rotator) every(ctx context.Context, log *slog.Logger, interval time.Duration, do func(context.Context) (more bool, err error)) {
	for wait := min(interval, r.look); sleep(ctx, wait) == nil; {
		more, err := do(ctx)
		r.report(ctx, log, err)
		if wait = interval; more {
			wait = 0
		}
	}
}

func (r *Rotator) report(ctx context.Context, log *slog.Logger, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	r.see(func(seen *Seen) { seen.Errors++ })
	log.Error("rotation is held up, and is tried again", "error", err)
}

// Work does what can be done now for all tenants, and reports whether it did something. It is for a process that
// does not serve.
func (r *Rotator) Work(ctx context.Context) (did bool, err error) {
	settled, err := r.settleDue(ctx)
	if err != nil {
		return settled, err
	}
	swept, err := r.sweep(ctx)
	return settled || swept, err
}

// settleDue looks at rotations that are due.
func (r *Rotator) settleDue(ctx context.Context) (more bool, err error) {
	names, err := r.Keystore.Due(ctx, keystore.Rotations, r.now(), dueBatch)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) // other processes have the same ones
	if err != nil {
		return false, err
	}
	_, more, err = r.each(ctx, keystore.Rotations, names, func(name string) error { return r.settleIndexed(ctx, name) })
	return more, err
}

// settleIndexed looks at a rotation that the index names. If nothing changed, only the index is late: a write that
// arrived late, or one that failed, can leave it so.
func (r *Rotator) settleIndexed(ctx context.Context, tenant string) error {
	before, err := r.Record(ctx, tenant)
	if err != nil || before == nil {
		return err
	}
	record, err := r.settle(ctx, tenant)
	if err == nil && record != nil && record.Next == before.Next {
		err = r.postpone(ctx, keystore.Rotations, tenant, record.Next)
	}
	return err
}

// each does something for documents that are due. One that fails is looked at again after a minute, and delays no other.
func (r *Rotator) each(ctx context.Context, kind keystore.Kind, names []string, do func(name string) error) (failed int, more bool, err error) {
	more = len(names) > 0
	for _, name := range names {
		if ctx.Err() != nil {
			return failed, false, ctx.Err()
		}
		e := do(name)
		if e == nil || ctx.Err() != nil {
			continue
		}
		wait := retry
		if errors.Is(e, keyring.ErrEnvironment) { // its own servers look as often, and must find it due at some time
			wait = rand.Int64N(retry)
		} else {
			failed++
			err = errors.Join(err, ofTenant(name, e))
		}
		if e := r.postpone(ctx, kind, name, r.now()+wait); e != nil {
			more = false
		}
	}
	return failed, more, err
}

func ofTenant(tenant string, err error) error { return fmt.Errorf("tenant %q: %w", tenant, err) }

// sweep begins a sweep if one is wanted, or works on a part of the one that is under way, to the part's end.
func (r *Rotator) sweep(ctx context.Context) (did bool, err error) {
	s, err := r.Sweep(ctx)
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
	if s.open() && s.Topology != topology.ID {
		if r.apart(ctx) != "" { // it may be the sweep of another cache
			return false, nil
		}
		_, err := r.editSweep(ctx, func(now *Sweep) error {
			if now.open() && now.Number == s.Number {
				now.abort()
			}
			return nil
		})
		return err == nil, err
	}
	var claimed *Part
	s, err = r.editSweep(ctx, func(s *Sweep) error {
		if s.begins(r.now()) {
			s.begin(topology, r.now())
		}
		if claimed = s.claim(r.id, func(p *Part) bool { return r.isFree(s, p) }); claimed == nil {
			return errMoved
		}
		claimed.Holder = r.id
		claimed.Beat++
		return nil
	})
	if errors.Is(err, errMoved) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = r.workOn(ctx, s, *claimed, sweeper)
	return err == nil, err
}

func (r *Rotator) isFree(s *Sweep, p *Part) bool {
	return r.silent("part "+p.Name, fmt.Sprint(s.Number, p.Holder, p.Beat), r.lease)
}

// workOn works on a part, while its lease is renewed.
func (r *Rotator) workOn(ctx context.Context, s *Sweep, p Part, sweeper kv.Sweeper) error {
	r.see(func(seen *Seen) { seen.Working = true })
	defer r.see(func(seen *Seen) { seen.Working = false })
	held, lost := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		r.renew(held, lost, s.Number, p.Name)
	}()
	var err error
	if p.Name == "" {
		err = r.closeSweep(held, s, sweeper)
	} else {
		err = newVisit(r, s, p).run(held, sweeper)
	}
	if errors.Is(context.Cause(held), errMoved) || errors.Is(err, errMoved) {
		err = nil
	}
	lost(nil)
	<-renewed
	if err != nil && !r.killed {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
		defer cancel()
		_, _ = r.editPart(leave, s.Number, p.Name, func(_ *Sweep, p *Part) { p.Holder = "" }) // else its lease runs out
	}
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

// closeSweep decides whether the sweep is complete, and looks at every rotation that is under way.
func (r *Rotator) closeSweep(ctx context.Context, s *Sweep, sweeper kv.Sweeper) (err error) {
	if !s.Judged {
		topology, err := sweeper.Topology(ctx)
		if err != nil {
			return err
		}
		apart := r.apart(ctx)
		if s, err = r.editPart(ctx, s.Number, "", func(s *Sweep, _ *Part) { s.judge(topology, apart, r.now()) }); err != nil {
			return err
		}
	}
	states := map[State]int{}
	for after := ""; ; {
		documents, next, err := r.Keystore.Page(ctx, keystore.Rotations, after, dueBatch)
		if err != nil {
			return err
		}
		if err := r.settleAll(ctx, s, documents, states); err != nil {
			return err
		}
		if now, err := r.Sweep(ctx); err == nil && now.Number == s.Number {
			s = now // with the sweeps that rotations want by now
		}
		if after = next; after == "" {
			break
		}
	}
	_, err = r.editPart(ctx, s.Number, "", func(s *Sweep, _ *Part) { s.end(r.now(), states) })
	return err
}

// settleAll looks at rotations at the end of a sweep, and counts them by their state.
func (r *Rotator) settleAll(ctx context.Context, sweep *Sweep, documents []keystore.Document, states map[State]int) error {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(settlesAtOnce)
	for _, document := range documents {
		g.Go(func() error {
			record, err := r.parse(document.Content)
			if err != nil || record.State == Idle {
				return nil // Record reports a damaged record
			}
			if record.Active() {
				if record, err = r.settleSwept(ctx, record, document.Content, sweep); err != nil || record == nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			states[record.State]++
			return nil
		})
	}
	return g.Wait()
}

// settleSwept is settle for a rotation whose record was just read. Most rotations only have to follow the sweep, which takes one write.
func (r *Rotator) settleSwept(ctx context.Context, record *Record, content []byte, sweep *Sweep) (*Record, error) {
	if followed, err := r.followSwept(ctx, record, content, sweep); err == nil && followed {
		return record, nil
	}
	settled, err := r.settle(ctx, record.Tenant)
	if err != nil && ctx.Err() == nil {
		return record, r.postpone(ctx, keystore.Rotations, record.Tenant, r.now()) // settleDue reports the error
	}
	return settled, err
}
