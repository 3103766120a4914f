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
	freshFor     = 10 * time.Minute // after which keys are fetched again, so that one the provider withdrew ends
	usableFor    = 24 * time.Hour   // how long they outlast a provider that does not answer
	pause        = 5 * time.Second  // the least between two fetches, whatever tokens come
	calmPause    = time.Minute      // the same while keys are there and only not fresh
	fetchTimeout = 5 * time.Second
)

// keys caches what fetch gives: one fetch at a time, whoever waits for it, and a known key waits for none.
type keys struct {
	fetch   func(context.Context) ([]jose.JSONWebKey, error)
	timeout time.Duration // of a fetch
	log     *slog.Logger
	now     func() time.Time

	mu        sync.Mutex
	known     []jose.JSONWebKey // replaced, never changed
	fetchedAt time.Time         // zero: never
	triedAt   time.Time
	flight    chan struct{} // closed when the fetch that runs ends; nil where none does
}

// get returns the keys known, and waits for a fetch only where there are none or they are too old. Without
// keys it returns identity.ErrUnavailable.
func (k *keys) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	age := k.age()
	var flight chan struct{}
	switch {
	case age >= usableFor:
		flight = k.start(pause)
	case age >= freshFor:
		k.start(calmPause)
	}
	known := k.known
	k.mu.Unlock()
	if age < usableFor {
		return known, nil
	}
	return k.wait(ctx, flight)
}

// current returns when the keys that are known were fetched, and has them fetched again if they are not fresh. It waits for
// nothing. Without usable keys it returns the present time, which no keys are of.
func (k *keys) current() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch age := k.age(); {
	case age >= usableFor:
		return k.now()
	case age >= freshFor:
		k.start(calmPause)
	}
	return k.fetchedAt
}

// renew returns the keys after a fetch, or as they are where the last one was just now.
func (k *keys) renew(ctx context.Context) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	flight := k.start(pause)
	k.mu.Unlock()
	return k.wait(ctx, flight)
}

func (k *keys) age() time.Duration {
	if k.fetchedAt.IsZero() {
		return usableFor
	}
	return k.now().Sub(k.fetchedAt)
}

// start begins a fetch unless one runs or ended less than a pause ago; the caller holds the lock. It returns
// the one that runs, or nil.
func (k *keys) start(pause time.Duration) chan struct{} {
	if k.flight == nil && (k.triedAt.IsZero() || k.now().Sub(k.triedAt) >= pause) {
		k.flight = make(chan struct{})
		go k.run(k.flight)
	}
	return k.flight
}

// run fetches whatever becomes of those who wait: the next ones need the keys too.
func (k *keys) run(flight chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	known, err := k.fetch(ctx)
	if err != nil {
		k.log.Warn("the identity provider's keys could not be fetched", "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.triedAt, k.flight = k.now(), nil
	if err == nil {
		k.known, k.fetchedAt = known, k.triedAt
	}
	close(flight)
}

func (k *keys) wait(ctx context.Context, flight chan struct{}) ([]jose.JSONWebKey, error) {
	if flight != nil {
		select {
		case <-flight:
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
