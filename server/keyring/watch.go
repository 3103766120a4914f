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
	// reloads is how many documents are read at once.
	reloads = 16
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
	failing  bool      // it could not be read the last time
	backlog  []*Tenant // that are reread although no change of theirs is known
	part     int       // of the backlog that a look rereads
	reread   time.Time // when the backlog was set last
}

// look rereads the tenants whose documents changed, could not be reread before, or were read or written since the last look. Only
// tenants in memory are reread; others read when they unlock.
func (r *Keyring) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.unlockTimeout)
	defer cancel()
	f := &r.feed
	r.mu.Lock()
	due := r.pending // before the feed is read, so that its position is behind what they have
	r.pending = map[*Tenant]bool{}
	r.mu.Unlock()
	err := r.readFeed(ctx, due)
	if err != nil && !f.failing && !errors.Is(ctx.Err(), context.Canceled) { // by Close
		slog.WarnContext(ctx, "changes of keysets cannot be followed now", "error", err)
	}
	f.failing = err != nil
	if len(f.backlog) == 0 && time.Since(f.reread) >= rereadInterval {
		f.backlog, f.reread = r.held(), time.Now()
		f.part = 1 + len(f.backlog)/int(rereadInterval/CheckInterval)
	}
	part, inTurn := f.backlog[:min(f.part, len(f.backlog))], map[*Tenant]bool{}
	for _, t := range part {
		if logged, known := due[t]; !known || f.failing {
			inTurn[t] = logged
		}
	}
	clear(part) // so that they can be forgotten
	f.backlog = f.backlog[len(part):]
	if f.failing { // the others are reread after the feed
		r.mu.Lock()
		maps.Copy(r.pending, due)
		r.mu.Unlock()
	} else {
		r.reloadAll(ctx, due, true)
	}
	r.reloadAll(ctx, inTurn, false)
}

// readFeed adds the tenants that have changed since the last time.
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
		if r.feed.position == "" { // what changed before is not known
			for _, t := range r.held() {
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

// reloadAll rereads tenants. If retry is true, those that cannot be read are pending afterwards.
func (r *Keyring) reloadAll(ctx context.Context, tenants map[*Tenant]bool, retry bool) {
	var failed error
	failures := 0
	var group errgroup.Group
	group.SetLimit(reloads)
	for t, logged := range tenants {
		group.Go(func() error {
			err := t.reloadSoon(ctx)
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
		slog.WarnContext(ctx, "keysets cannot be read again", "count", failures, "code", codes.Of(failed).Code) // errors name tenants
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
		ctx, cancel := context.WithTimeout(t.ring.ctx, t.ring.unlockTimeout)
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
	if _, err := r.health.failing(); err == nil {
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
	ctx, cancel := context.WithTimeout(ctx, r.unlockTimeout)
	defer cancel()
	_, _ = tenants[rand.N(len(tenants))].land(ctx)
}

// Cached returns how many tenants' keys are in memory, and how many uses of keys found them not there since
// the keyring was made, and waited for the KEKs.
func (r *Keyring) CacheStats() (tenants int, missed uint64) {
	return int(r.unlocked.Load()), r.missed.Load()
}
