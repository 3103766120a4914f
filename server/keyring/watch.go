package keyring

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/codes"
)

const (
	// maxReloads is how many documents are reread concurrently.
	maxReloads = 16
	// reloadPatience is how long a check waits for one document, which may need a KEK that does not answer. The
	// reload then continues in the background.
	reloadPatience = time.Second
	// rereadInterval is how often every unlocked tenant's document is reread although the feed has no entry for it, a
	// few documents per check: an operator of Redis can remove a document without an entry in the feed.
	rereadInterval = 5 * time.Minute
)

// errSlowReload reports that a reload of a tenant is still running.
var errSlowReload = errors.New("keyring: the keystore or a KEK does not answer")

func runEvery(ctx context.Context, interval time.Duration, do func(context.Context)) {
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

// feed is the progress of a keyring in the keystore's feed of changes.
type feed struct {
	position       keystore.Position
	failing        bool      // the last attempt to read the feed failed
	backlog        []*Tenant // tenants to reread although the feed has no entry for them
	perCheck       int       // how many of the backlog a check rereads
	backlogStarted time.Time // when the backlog was filled last
}

// checkChanges rereads the documents of tenants in memory: those that changed, that could not be reread before, or
// that this process read or wrote since the last check. Other tenants read their document when they are unlocked.
func (r *Keyring) checkChanges(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.unlockTimeout)
	defer cancel()
	f := &r.feed
	r.mu.Lock()
	due := r.pending // taken before the feed is read, so that the feed's position is not earlier than their documents
	r.pending = map[*Tenant]bool{}
	r.mu.Unlock()
	err := r.readFeed(ctx, due)
	if err != nil && !f.failing && !errors.Is(ctx.Err(), context.Canceled) { // canceled by Close
		slog.WarnContext(ctx, "changes of keysets cannot be followed now", "error", err)
	}
	f.failing = err != nil
	if len(f.backlog) == 0 && time.Since(f.backlogStarted) >= rereadInterval {
		f.backlog, f.backlogStarted = r.tenantsInUse(), time.Now()
		f.perCheck = 1 + len(f.backlog)/int(rereadInterval/CheckInterval)
	}
	part, inTurn := f.backlog[:min(f.perCheck, len(f.backlog))], map[*Tenant]bool{}
	for _, t := range part {
		if logged, known := due[t]; !known || f.failing {
			inTurn[t] = logged
		}
	}
	clear(part) // release the references
	f.backlog = f.backlog[len(part):]
	if f.failing { // reread after the feed can be read again
		r.mu.Lock()
		maps.Copy(r.pending, due)
		r.mu.Unlock()
	} else {
		r.reloadAll(ctx, due, true)
	}
	r.reloadAll(ctx, inTurn, false)
}

// readFeed adds the tenants whose documents changed since the last call to due.
func (r *Keyring) readFeed(ctx context.Context, due map[*Tenant]bool) error {
	for {
		changes, next, err := r.store.Changes(ctx, r.feed.position)
		if errors.Is(err, keystore.ErrFeedLost) {
			r.feed.position = ""
			continue
		}
		if err != nil {
			return err
		}
		if r.feed.position == "" { // earlier changes are unknown
			for _, t := range r.tenantsInUse() {
				due[t] = false
			}
		}
		r.feed.position = next
		if len(changes) == 0 {
			return nil
		}
		r.mu.Lock()
		for _, c := range changes {
			if t := r.tenants[c.Name].Value(); c.Kind == keystore.Keysets && t != nil {
				due[t] = false
			}
		}
		r.mu.Unlock()
	}
}

// reloadAll rereads tenants. If retry is true, tenants that cannot be reread become pending.
func (r *Keyring) reloadAll(ctx context.Context, tenants map[*Tenant]bool, retry bool) {
	var failed error
	failures := 0
	var group errgroup.Group
	group.SetLimit(maxReloads)
	for t, logged := range tenants {
		group.Go(func() error {
			err := t.reloadWithTimeout(ctx)
			if err == nil {
				return nil
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			failures++
			if !logged {
				failed = err
			}
			if retry {
				r.pending[t] = logged || ctx.Err() == nil
			}
			return nil
		})
	}
	_ = group.Wait()
	if failed != nil && ctx.Err() == nil {
		slog.WarnContext(ctx, "keysets cannot be read again", "count", failures, "code", codes.Of(failed).Code) // without the errors, which name tenants
	}
}

// reloadWithTimeout is like Reload, but returns errSlowReload if the reload takes longer than reloadPatience. The
// reload then continues, and the tenant has to be reread after it has ended.
func (t *Tenant) reloadWithTimeout(ctx context.Context) error {
	if !t.reloading.CompareAndSwap(false, true) {
		return errSlowReload
	}
	done := make(chan error, 1)
	t.ring.background.Go(func() {
		defer t.reloading.Store(false)
		ctx, cancel := context.WithTimeout(t.ring.ctx, t.ring.unlockTimeout)
		defer cancel()
		done <- t.Reload(ctx)
	})
	select {
	case err := <-done:
		return err
	case <-time.After(reloadPatience):
		return errSlowReload
	case <-ctx.Done():
		return ctx.Err()
	}
}

// probeKEKs renews one tenant's keys while calls of the KEKs fail, to notice when they work again. Servers that share
// the KEKs probe at random times.
func (r *Keyring) probeKEKs(ctx context.Context) {
	if _, err := r.health.failing(); err == nil {
		return
	}
	tenants := slices.DeleteFunc(r.tenantsInUse(), func(t *Tenant) bool { return t.state.Load() == nil })
	if len(tenants) == 0 || !r.health.pace.Allow() {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(rand.N(time.Second)):
	}
	ctx, cancel := context.WithTimeout(ctx, r.unlockTimeout)
	defer cancel()
	_, _ = tenants[rand.N(len(tenants))].unlockKeys(ctx)
}

// CacheStats returns the number of tenants whose keys are in memory, and the number of uses that found the keys not
// in memory and waited for the KEKs.
func (r *Keyring) CacheStats() (tenants int, missed uint64) {
	return int(r.unlocked.Load()), r.misses.Load()
}
