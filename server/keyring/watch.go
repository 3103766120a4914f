package keyring

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// retry is how long a KEK that failed is left alone before keys that are still in memory are renewed.
const retry = 10 * time.Second

// lookAnyway is how often all documents are looked at though the store tells of no change: a process that is
// killed, or loses its connection, just after a change tells nobody of it.
const lookAnyway = 30 * time.Second

// watch sees other processes' changes, renews keys in use and drops those whose time is over, until the
// keyring is closed.
func (r *Keyring) watch() {
	defer close(r.closed)
	ticker := time.NewTicker(CheckInterval)
	defer ticker.Stop()
	seen, looked := keystore.Position(""), time.Now()
	for {
		select {
		case <-r.closing:
			return
		case <-ticker.C:
			if time.Since(looked) >= r.anyway {
				seen, looked = "", time.Now()
			}
			seen = r.check(seen)
		}
	}
}

// check returns the position in the feed up to which all changes were seen.
func (r *Keyring) check(seen keystore.Position) keystore.Position {
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	all := r.known()
	changes, next, err := r.store.Changes(ctx, seen)
	if errors.Is(err, keystore.ErrFeedLost) {
		seen = ""
		_, next, err = r.store.Changes(ctx, "")
	}
	if err == nil && seen == "" {
		for _, t := range all {
			err = errors.Join(err, t.reload(ctx))
		}
	}
	for _, c := range changes {
		if c.Kind == keystore.Keysets {
			err = errors.Join(err, r.tenant(c.Name).reload(ctx))
		}
	}
	now := time.Now()
	for _, t := range all {
		t.age(now)
	}
	if r.health.ask(now) {
		r.probe(all, now)
	}
	if err != nil {
		return seen
	}
	return next
}

// probe has the KEKs asked for the keys of one tenant, though it may not use them, so that a recovery is noticed.
func (r *Keyring) probe(all []*Tenant, now time.Time) {
	for _, t := range all {
		if t.state.Load() != nil {
			t.renew(now)
			return
		}
	}
}

// age drops keys whose time is over, and has them renewed before where they are in use.
func (t *Tenant) age(now time.Time) {
	s, ttl := t.state.Load(), t.ring.ttl
	if s == nil {
		return
	}
	age := now.Sub(s.since)
	if age >= ttl {
		t.mu.Lock()
		if t.state.Load() == s {
			t.drop()
		}
		t.mu.Unlock()
		return
	}
	unwell := t.ring.health.failing()
	if (age >= ttl-ttl/4 || unwell) && s.used.Load() {
		t.renew(now)
	}
}

// renew has the KEKs asked, and not again for a while.
func (t *Tenant) renew(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Before(t.again) {
		t.again = now.Add(min(retry, t.ring.ttl/20))
		t.board()
	}
}

// health is what is known of the KEKs.
type health struct {
	mu    sync.Mutex
	err   error
	since time.Time
	asked time.Time // when the last call ended, or one was asked for
}

// answered reports whether a KEK's call ended with an answer: that a key is another KEK's, or was altered, is one too.
func answered(err error) bool {
	return err == nil || errors.Is(err, kms.ErrWrongKey) || errors.Is(err, envelope.ErrAuthentication)
}

// note remembers how a call of a KEK ended.
func (h *health) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = time.Now()
	if answered(err) {
		h.err = nil
		return
	}
	if h.err == nil {
		h.since = time.Now()
	}
	h.err = err
}

// ask reports whether the KEKs are to be asked because they failed, and nobody did for a while.
func (h *health) ask(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil || now.Sub(h.asked) < retry {
		return false
	}
	h.asked = now
	return true
}

func (h *health) failing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err != nil
}

// Health gives the error of the KEKs' last call and since when they fail; nil where the last one was answered.
func (r *Keyring) Health() (since time.Time, err error) {
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	return r.health.since, r.health.err
}

// Cached gives how many tenants' keys are in memory, and how many uses of keys found them not there since the
// keyring was made, and waited for the KEKs.
func (r *Keyring) Cached() (tenants int, missed uint64) {
	for _, t := range r.known() {
		if t.state.Load() != nil {
			tenants++
		}
	}
	return tenants, r.missed.Load()
}
