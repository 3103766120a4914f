// Package keyring keeps the keysets of tenants, and gives their keys.
//
// What it guarantees: at rest there are wrapped keys only, and only the KEKs open them; a keyset is replaced
// as a whole and is durable before its keys seal anything, so that a kill or a power cut at any point loses
// no key; processes that share a store of keysets make one primary, and see each other's changes within a
// second; a keyset that is damaged, or of another environment, is refused and left as it is.
//
// A tenant is unlocked by one call of each KEK that its keys are under, however many ask at once. Its keys
// stay in memory for a time ([WithTTL]) or a number of uses ([WithUses]), and are renewed before it is over
// as long as they are in use. So an outage of the KMS is survived for that time; then the keys are dropped.
// What was shredded or destroyed is refused as soon as it is seen, whatever is left of that time.
package keyring

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// The sentinels; those of shared/envelope and package kms come through as well.
var (
	// ErrTenant says that a tenant id or environment label is empty, too long or not UTF-8.
	ErrTenant = &codes.Error{Of: "invalid_argument", Text: "a tenant id is 1 to 255 bytes of UTF-8, an environment label at most 64"}
	// ErrNoTenant says that a tenant has no keys yet.
	ErrNoTenant = &codes.Error{Of: "not_found", Text: "the tenant has no keys"}
	// ErrUnreadable says that a tenant's keyset cannot be read or written.
	ErrUnreadable = keystore.ErrUnavailable
	// ErrEnvironment says that a keyset belongs to another environment, such as prod's in dev.
	ErrEnvironment = &codes.Error{Of: "keyring_unavailable", Text: "the tenant's keyset belongs to another environment"}
	// ErrInUse says that a key still seals, or may still be needed to open what is in use.
	ErrInUse = &codes.Error{Of: "key_unusable", Text: "the key is still in use"}
)

const (
	// DefaultTTL is how long keys stay in memory after the KEK last unwrapped them.
	DefaultTTL = time.Hour
	// MaxTTL bounds it: what was destroyed elsewhere while the store of keysets was out of reach is served no
	// longer than that.
	MaxTTL = 24 * time.Hour
	// CheckInterval is how often a keyring looks for other processes' changes.
	CheckInterval = time.Second
	// unlockTimeout bounds the calls of the KEK that many callers may wait for, whatever their own deadlines.
	unlockTimeout = 30 * time.Second
)

// Keyring is the keysets of one store. It is safe for concurrent use, and several processes may share the store.
type Keyring struct {
	store       keystore.Store
	keks        kms.Set
	environment string
	ttl         time.Duration
	uses        int64 // 0: any number
	due         func(*envelope.Document) int64
	anyway      time.Duration // lookAnyway
	patience    time.Duration // unlockTimeout
	health      health
	missed      atomic.Uint64 // uses of keys that were not in memory

	mu      sync.Mutex
	tenants map[string]*Tenant

	close   sync.Once
	closing chan struct{}
	closed  chan struct{}
}

// Option changes a Keyring as it is made.
type Option func(*Keyring)

// WithTTL sets how long keys stay in memory after the KEK last unwrapped them; at most MaxTTL.
func WithTTL(ttl time.Duration) Option { return func(r *Keyring) { r.ttl = min(ttl, MaxTTL) } }

// WithUses sets for how many packages sealed or opened a tenant's keys stay in memory; 0 is any number.
func WithUses(uses int64) Option { return func(r *Keyring) { r.uses = max(uses, 0) } }

// Open opens a keyring in a directory with one KEK; see New.
func Open(dir string, kek kms.KEK, environment string, options ...Option) (*Keyring, error) {
	store, err := keystore.OpenDirectory(dir)
	if err != nil {
		return nil, err
	}
	return New(store, kms.NewSet(kek), environment, options...)
}

// New makes a keyring over a store, which stays the caller's. The environment is a label such as dev, staging
// or prod, bound to every key: keysets of another one are refused.
func New(store keystore.Store, keks kms.Set, environment string, options ...Option) (*Keyring, error) {
	if len(environment) > envelope.MaxEnvironment || !utf8.ValidString(environment) {
		return nil, ErrTenant
	}
	r := &Keyring{
		store: store, keks: keks, environment: environment, ttl: DefaultTTL, anyway: lookAnyway, patience: unlockTimeout, tenants: map[string]*Tenant{},
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
	for _, option := range options {
		option(r)
	}
	go r.watch()
	return r, nil
}

// Close drops all keys from memory. Tenants that are used afterwards are unlocked again, but other processes'
// changes no longer seen.
func (r *Keyring) Close() {
	r.close.Do(func() { close(r.closing) })
	<-r.closed
	for _, t := range r.known() {
		t.lock()
	}
}

// TTL is how long keys stay in memory.
func (r *Keyring) TTL() time.Duration { return r.ttl }

// Tenant gives a tenant's keys, unlocked; a tenant that has none yet gets a root, durable before this
// returns. The id is 1 to 255 bytes of UTF-8, of any characters. It returns ErrTenant, ErrUnreadable,
// ErrEnvironment, an error of the KEK, or the context's.
func (r *Keyring) Tenant(ctx context.Context, id string) (*Tenant, error) {
	if err := checkTenant(id); err != nil {
		return nil, err
	}
	t := r.tenant(id)
	if t.state.Load() == nil {
		if _, err := t.unlock(ctx); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func checkTenant(id string) error {
	if id == "" || len(id) > format.MaxOwner || !utf8.ValidString(id) {
		return ErrTenant
	}
	return nil
}

// tenant gives the one Tenant of an id, which may be locked.
func (r *Keyring) tenant(id string) *Tenant {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tenants[id]
	if !ok {
		t = &Tenant{ring: r, id: id, seals: map[format.KeyID]*counter{}}
		r.tenants[id] = t
	}
	return t
}

func (r *Keyring) known() []*Tenant {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Tenant, 0, len(r.tenants))
	for _, t := range r.tenants {
		all = append(all, t)
	}
	return all
}
