package keyring

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
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
	// slowReload is how long the others wait for one, which may need a KEK that does not answer. It goes on in the background.
	slowReload = time.Second
	// rereadInterval is in what time the documents of all unlocked tenants are read although the feed does not mention them, a few at
	// a time: an operator of Redis can remove one without an entry in the feed.
	rereadInterval = 5 * time.Minute
)

// errSlow reports a tenant that is still being reread.
var errSlow = errors.New("keyring: the keystore or a KEK does not answer")

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
	pending  map[*Tenant]bool // tenants with a changed document that was not read yet: true if a failure was logged
	failing  bool             // the feed could not be read the last time
	backlog  []*Tenant        // that are reread although no change of theirs is known
	lost     bool             // changes of the backlog's were missed, so those that cannot be read become pending
	reread   time.Time        // when the backlog was set last
}

// changed adds a tenant to the pending ones.
func (f *feed) changed(t *Tenant) {
	if _, known := f.pending[t]; !known {
		f.pending[t] = false
	}
}

// look rereads the tenants whose documents changed or are missing. Only unlocked ones are read; others read when they unlock.
func (r *Keyring) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	r.mu.Lock()
	fresh := r.fresh // before the feed is read, so that its position is behind what they have
	r.fresh = map[*Tenant]bool{}
	r.mu.Unlock()
	err := r.readFeed(ctx)
	if err != nil && !r.feed.failing {
		slog.WarnContext(ctx, "changes of keysets cannot be followed now", "error", err)
	}
	r.feed.failing = err != nil
	if time.Since(r.feed.reread) >= rereadInterval && len(r.feed.backlog) == 0 {
		r.feed.backlog, r.feed.lost, r.feed.reread = r.held(), false, time.Now()
	}
	r.mu.Lock()
	for t := range fresh {
		if err == nil {
			r.feed.changed(t)
		} else if len(r.fresh) < r.limit { // which bounds the memory in a long outage
			r.fresh[t] = true
		}
	}
	for t := range r.missing {
		r.feed.changed(t)
	}
	r.mu.Unlock()
	changed := make([]*Tenant, 0, len(r.feed.pending))
	for t := range r.feed.pending {
		changed = append(changed, t)
	}
	r.reloadAll(ctx, changed, true)
	n := 16 * reloads
	if !r.feed.lost { // spread over the interval
		n = 1 + int(int64(len(r.feed.backlog))*int64(CheckInterval)/int64(max(rereadInterval-time.Since(r.feed.reread), CheckInterval)))
	}
	for begun := time.Now(); len(r.feed.backlog) > 0 && ctx.Err() == nil && time.Since(begun) < reloadTime; {
		part := r.feed.backlog[:min(n, len(r.feed.backlog))]
		r.feed.backlog = r.feed.backlog[len(part):]
		r.reloadAll(ctx, part, r.feed.lost)
		clear(part) // so that they can be forgotten
		if !r.feed.lost {
			break
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
			r.feed.backlog, r.feed.lost, r.feed.reread = r.held(), true, time.Now()
		}
		r.feed.position = next
		if len(changes) == 0 {
			return nil
		}
		r.mu.Lock()
		for _, c := range changes {
			if t := r.tenants[c.Name].Value(); c.Kind == keystore.Keysets && t != nil {
				r.feed.changed(t)
			}
		}
		r.mu.Unlock()
	}
}

// reloadAll rereads tenants. If retry is true, those that cannot be read are pending afterwards.
func (r *Keyring) reloadAll(ctx context.Context, tenants []*Tenant, retry bool) {
	var mu sync.Mutex
	var failed error
	failures := 0
	var group errgroup.Group
	group.SetLimit(reloads)
	for _, t := range tenants {
		group.Go(func() error {
			err := t.reloadSoon(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				delete(r.feed.pending, t)
				return nil
			}
			failures++
			logged := r.feed.pending[t]
			if !logged {
				failed = err
			}
			if retry {
				r.feed.pending[t] = logged || ctx.Err() == nil
			}
			return nil
		})
	}
	_ = group.Wait()
	if failed != nil && ctx.Err() == nil {
		slog.WarnContext(ctx, "keysets cannot be read again", "count", failures, "error", failed)
	}
}

// reloadSoon is Reload, and returns errSlow if that takes long. It goes on then, and the tenant is to be reread after it has ended.
func (t *Tenant) reloadSoon(ctx context.Context) error {
	if !t.reloading.CompareAndSwap(false, true) {
		return errSlow
	}
	done := make(chan error, 1)
	t.ring.active.Go(func() {
		defer t.reloading.Store(false)
		ctx, cancel := context.WithTimeout(t.ring.ctx, t.ring.patience)
		defer cancel()
		done <- t.Reload(ctx)
	})
	select {
	case err := <-done:
		return err
	case <-time.After(slowReload):
		return errSlow
	case <-ctx.Done():
		return ctx.Err()
	}
}

// probe asks the KEKs for one tenant's keys while they fail: nothing else would notice that they work again. Servers that share the
// KEKs do not ask in step.
func (r *Keyring) probe(ctx context.Context) {
	if r.health.failing() == nil {
		return
	}
	tenants := slices.DeleteFunc(r.held(), func(t *Tenant) bool { return t.state.Load() == nil })
	if len(tenants) == 0 || !r.health.pace.Allow() {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(rand.N(time.Second)):
	}
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	_, _ = tenants[rand.N(len(tenants))].land(ctx)
}

// Cached returns how many tenants' keys are in memory, and how many uses of keys found them not there since
// the keyring was made, and waited for the KEKs.
func (r *Keyring) Cached() (tenants int, missed uint64) {
	return int(r.unlocked.Load()), r.missed.Load()
}
