package keyring

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/keystore"
)

const (
	// reloads is how many documents are read at once.
	reloads = 16
	// reloadTime is how long a part of many reloads takes, before the feed is looked at again.
	reloadTime = 500 * time.Millisecond
	// rereadInterval is how often the document of an unlocked tenant is read although the feed does not mention
	// it: files can be removed, or come from a snapshot, without an entry in the feed.
	rereadInterval = 5 * time.Minute
	// lateUses is how often in a TTL a tenant that was not used when its keys were due for renewal is looked at again.
	lateUses = 20
)

// watch follows other processes' changes, renews keys in use and drops those whose time is over, until the
// keyring is closed.
func (r *Keyring) watch() {
	defer close(r.closed)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { every(ctx, CheckInterval, r.look) })
	wg.Go(func() { every(ctx, CheckInterval, r.age) })
	wg.Go(func() { r.renew(ctx) })
	<-r.closing
	cancel()
	wg.Wait()
}

func every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do(ctx)
		}
	}
}

// feed is how far a keyring has followed the changes of the keystore.
type feed struct {
	position keystore.Position
	pending  map[*Tenant]bool // tenants with a changed document that was not read yet
	backlog  []*Tenant        // that are reread because changes may have been missed
}

// look rereads the tenants whose documents changed. Only unlocked ones are read; others read when they unlock.
func (r *Keyring) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	if err := r.readFeed(ctx); err != nil {
		slog.WarnContext(ctx, "changes of keysets cannot be followed now", "error", err)
	}
	r.retryMissing(ctx)
	changed := make([]*Tenant, 0, len(r.feed.pending))
	for t := range r.feed.pending {
		changed = append(changed, t)
	}
	for _, t := range r.reloadAll(ctx, changed) {
		delete(r.feed.pending, t)
	}
	for begun := time.Now(); len(r.feed.backlog) > 0 && ctx.Err() == nil && time.Since(begun) < reloadTime; {
		n := min(len(r.feed.backlog), 16*reloads)
		part := r.feed.backlog[:n]
		r.feed.backlog = r.feed.backlog[n:]
		r.feed.await(part)
		for _, t := range r.reloadAll(ctx, part) {
			delete(r.feed.pending, t)
		}
	}
}

// readFeed notes which tenants have changed since the last time.
func (r *Keyring) readFeed(ctx context.Context) error {
	for {
		changes, next, err := r.store.Changes(ctx, r.feed.position)
		if errors.Is(err, keystore.ErrFeedLost) {
			r.feed.position = ""
			continue
		}
		if err != nil {
			return err
		}
		if r.feed.position == "" { // what changed before is not known
			r.feed.backlog = r.events.all()
		}
		r.feed.position = next
		if len(changes) == 0 {
			return nil
		}
		for _, c := range changes {
			if t := r.known(c.Name); c.Kind == keystore.Keysets && t != nil {
				r.feed.await([]*Tenant{t})
			}
		}
	}
}

func (f *feed) await(changed []*Tenant) {
	for _, t := range changed {
		f.pending[t] = true
	}
}

// reloadAll rereads tenants and returns those that work with the current document now.
func (r *Keyring) reloadAll(ctx context.Context, tenants []*Tenant) (done []*Tenant) {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(reloads)
	for _, t := range tenants {
		group.Go(func() error {
			if err := t.reload(ctx, nil); err != nil {
				if ctx.Err() == nil {
					slog.WarnContext(ctx, "a changed keyset cannot be read", "error", err)
				}
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, t)
			return nil
		})
	}
	_ = group.Wait()
	return done
}

// age does what is due for the unlocked tenants, the earliest first.
func (r *Keyring) age(ctx context.Context) {
	now := time.Now()
	var reread []*Tenant
	for t := r.events.due(now); t != nil; t = r.events.due(now) {
		s := t.state.Load()
		switch {
		case s == nil:
			r.events.remove(t)
		case t.expired(s):
			t.expire(s)
		case !now.Before(s.renewal) && (s.used.Load() || t.pinned()):
			r.waiting.set(t, s.since.Add(r.ttl))
			r.schedule(t, s, now.Add(rereadInterval))
		default:
			reread = append(reread, t)
			next := now.Add(rereadInterval)
			if !now.Before(s.renewal) {
				next = now.Add(r.ttl / lateUses)
			}
			r.schedule(t, s, next)
		}
	}
	rereading, cancel := context.WithTimeout(ctx, r.patience) // others expire in the meantime
	defer cancel()
	r.reloadAll(rereading, reread)
	if r.health.failing() != nil && r.waiting.len() == 0 { // no other call would notice that the KEKs work again
		if t := r.events.first(); t != nil {
			r.waiting.set(t, now)
		}
	}
}

// schedule notes when something is to be done for a tenant again, at the latest.
func (r *Keyring) schedule(t *Tenant, s *unlocked, latest time.Time) {
	for _, at := range []time.Time{s.renewal, s.since.Add(r.ttl)} {
		if at.Before(latest) && at.After(time.Now()) {
			latest = at
		}
	}
	r.events.set(t, latest)
	if t.state.Load() == nil { // it was dropped in the meantime
		r.events.remove(t)
	}
}

// renewalOf draws when keys that were unwrapped at a time are renewed: after three to four fifths of the TTL,
// so that tenants that were unlocked together are not renewed together.
func (r *Keyring) renewalOf(since time.Time) time.Time {
	return since.Add(r.ttl*3/5 + rand.N(r.ttl/5+1))
}

// renew has the KEKs renew the keys that wait for it, those that expire first at first, at the pace that the
// KEKs allow. While they fail, it makes one call at a time.
func (r *Keyring) renew(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(int(r.atOnce))
	defer group.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.waiting.added:
		}
		for r.waiting.len() > 0 && r.health.turn(ctx) == nil {
			t := r.waiting.take()
			if t == nil || t.state.Load() == nil {
				continue
			}
			done := make(chan struct{})
			group.Go(func() error {
				defer close(done)
				r.renewOne(ctx, t)
				return nil
			})
			if r.health.failing() != nil {
				<-done
			}
		}
	}
}

func (r *Keyring) renewOne(ctx context.Context, t *Tenant) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	_, err, _ := r.flights.Do(t.id, func() (any, error) { return t.land(ctx) })
	s := t.state.Load()
	switch {
	case err == nil || s == nil || errors.Is(ctx.Err(), context.Canceled):
	case r.health.failing() != nil: // its pace bounds how often this is tried
		r.waiting.set(t, s.since.Add(r.ttl))
	default: // the document, or its place
		wait := r.ttl / lateUses
		r.schedule(t, s, time.Now().Add(wait/2+rand.N(wait/2+1)))
	}
}

// Cached returns how many tenants' keys are in memory, and how many uses of keys found them not there since
// the keyring was made, and waited for the KEKs.
func (r *Keyring) Cached() (tenants int, missed uint64) {
	tenants = r.events.len()
	if r.system.tenant.state.Load() != nil {
		tenants--
	}
	return max(0, tenants), r.missed.Load()
}
