package oidc

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/coffer-storage/coffer/internal/identity"
)

const (
	freshFor      = 10 * time.Minute // after this time keys are fetched again, so that a withdrawn key is soon refused
	usableFor     = 24 * time.Hour   // after this time without a successful fetch, keys are not used anymore
	minFetchPause = 5 * time.Second  // minimum time between two fetches, whatever tokens arrive
	refreshPause  = time.Minute      // the same, while usable keys are available
	fetchTimeout  = 5 * time.Second
)

// keyCache caches the keys that fetch returns. Only one fetch runs at a time, and all callers that need it wait for it.
// A caller does not wait if usable keys are available.
type keyCache struct {
	fetch   func(context.Context) ([]jose.JSONWebKey, error)
	timeout time.Duration // of a fetch
	log     *slog.Logger
	now     func() time.Time

	mu        sync.Mutex
	known     []jose.JSONWebKey // replaced as a whole, never changed
	fetchedAt time.Time         // zero: never
	triedAt   time.Time
	fetchDone chan struct{} // closed when the running fetch ends; nil if none is running
}

// get returns the cached keys. It waits for a fetch only if there are no usable keys. If the fetch fails, it returns
// identity.ErrUnavailable.
func (k *keyCache) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	age := k.age()
	var done chan struct{}
	switch {
	case age >= usableFor:
		done = k.startFetch(minFetchPause)
	case age >= freshFor:
		k.startFetch(refreshPause)
	}
	known := k.known
	k.mu.Unlock()
	if age < usableFor {
		return known, nil
	}
	return k.wait(ctx, done)
}

// generation returns when the cached keys were fetched. If they are not fresh, it also starts a fetch but does not
// wait. If there are no usable keys, it returns the present time, which matches no keys.
func (k *keyCache) generation() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch age := k.age(); {
	case age >= usableFor:
		return k.now()
	case age >= freshFor:
		k.startFetch(refreshPause)
	}
	return k.fetchedAt
}

// refetch fetches the keys, unless the last fetch was a moment ago, and returns the keys.
func (k *keyCache) refetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	done := k.startFetch(minFetchPause)
	k.mu.Unlock()
	return k.wait(ctx, done)
}

func (k *keyCache) age() time.Duration {
	if k.fetchedAt.IsZero() {
		return usableFor
	}
	return k.now().Sub(k.fetchedAt)
}

// startFetch starts a fetch unless one is running or ended less than a pause ago. It returns the channel of the running
// fetch, or nil. k.mu must be held.
func (k *keyCache) startFetch(pause time.Duration) chan struct{} {
	if k.fetchDone == nil && (k.triedAt.IsZero() || k.now().Sub(k.triedAt) >= pause) {
		k.fetchDone = make(chan struct{})
		go k.runFetch(k.fetchDone)
	}
	return k.fetchDone
}

// runFetch fetches the keys. It does not stop if the waiting callers give up, because later callers need the keys too.
func (k *keyCache) runFetch(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	known, err := k.fetch(ctx)
	if err != nil {
		k.log.Warn("the identity provider's keys cannot be fetched", "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.triedAt, k.fetchDone = k.now(), nil
	if err == nil {
		k.known, k.fetchedAt = known, k.triedAt
	}
	close(done)
}

func (k *keyCache) wait(ctx context.Context, done chan struct{}) ([]jose.JSONWebKey, error) {
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.age() >= usableFor {
		return nil, identity.ErrUnavailable
	}
	return k.known, nil
}
