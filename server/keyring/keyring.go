// Package keyring keeps the keysets of tenants, and returns their keys.
//
// It guarantees that at rest there are wrapped keys only, and only the KEKs open them. A keyset is replaced as a
// whole and is durable before its keys seal anything, so that a kill or a power cut at any point loses no key.
// Processes that share a store of keysets make one primary, and see each other's changes within about a second,
// however many tenants they have unlocked. A keyset that is damaged, or of another environment, is refused and
// left as it is. One that vanishes from the store while a process holds it is written back.
//
// A tenant is unlocked by one call of each KEK that its keys are under, for all concurrent callers. Its keys stay
// in memory for a time ([WithTTL]) or a number of uses ([WithUses]), and are renewed before it ends as long as
// they are in use. So an outage of the KMS is survived for that time; then the keys are dropped. Calls of the KMS
// are bounded ([WithCalls]) and paced by how it answers, and so is the number of unlocked tenants ([WithTenants]).
// Keys that were shredded or destroyed are refused as soon as that is seen, whatever is left of the time.
package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
	"weak"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// The sentinels; those of shared/envelope and package kms come through as well.
var (
	// ErrTenant says that a tenant id or environment label is empty, too long or not UTF-8.
	ErrInvalidTenant = &codes.Error{Of: "invalid_argument", Text: "a tenant id is 1 to 255 bytes of UTF-8, an environment label at most 64"}
	// ErrNoTenant says that a tenant has no keys yet.
	ErrNoTenant = &codes.Error{Of: "not_found", Text: "the tenant has no keys"}
	// ErrUnreadable says that a tenant's keyset cannot be read or written.
	ErrUnreadable = keystore.ErrUnavailable
	// ErrEnvironment says that a keyset belongs to another environment, such as prod's in dev.
	ErrWrongEnvironment = &codes.Error{Of: "keyring_unavailable", Text: "the tenant's keyset belongs to another environment"}
	// ErrInUse says that a key still seals, or may still be needed to open what is in use.
	ErrInUse = &codes.Error{Of: "key_unusable", Text: "the key is still in use"}
)

const (
	// DefaultTTL is how long keys stay in memory after the KEK last unwrapped them.
	DefaultTTL = time.Hour
	// MaxTTL bounds it: what was destroyed elsewhere while the store of keysets was out of reach is served no
	// longer than that.
	MaxTTL = 24 * time.Hour
	// DefaultTenants is how many tenants' keys are in memory at most.
	DefaultMaxTenants = 50_000
	// DefaultCalls is how many tenants are unlocked or renewed at once.
	DefaultConcurrentUnlocks = 32
	// CheckInterval is how often a keyring looks for other processes' changes.
	CheckInterval = time.Second
	// defaultUnlockTimeout bounds the calls of the KEK that many callers may wait for, whatever their own deadlines.
	defaultUnlockTimeout = 30 * time.Second
)

// Keyring is the keysets of one store. It is safe for concurrent use, and several processes may share the store.
type Keyring struct {
	store         keystore.Store
	keks          kms.Set
	environment   string
	ttl           time.Duration
	uses          int64 // 0: any number
	dueTime       func(*envelope.Document) int64
	onIncident    func(Incident)
	unlockTimeout time.Duration
	limit         int   // of unlocked tenants
	atOnce        int64 // calls of the KEKs
	calls         *semaphore.Weighted
	flights       singleflight.Group // by tenant: unlocking it
	health        health
	rejected      rejected
	proven        sync.Map      // KEKs that opened a root
	missed        atomic.Uint64 // uses of keys that were not in memory
	unlocked      atomic.Int64  // tenants
	restored      atomic.Uint64 // documents that had vanished
	sealing       sealing
	feed          feed // used by look only

	mu      sync.Mutex
	tenants map[string]weak.Pointer[Tenant] // so that there is one Tenant of an id, as long as it is in use
	recent  *simplelru.LRU[string, *Tenant] // the unlocked tenants
	missing map[*Tenant]error               // their documents vanished, and could not be written back yet for this reason
	pending map[*Tenant]bool                // the next look rereads their documents; true if it is logged that they cannot be read
	system  *Tenant                         // the system document's
	begun   time.Time                       // monotonic times count from it
	clock   atomic.Pointer[moment]          // at most clockInterval behind; nil after Close

	ctx    context.Context // ends when the keyring is closed
	cancel context.CancelFunc
	active sync.WaitGroup // what runs in the background

	release func() error // closes a store that Open opened; else nil
}

// Option changes a Keyring as it is made.
type Option func(*Keyring)

// WithTTL sets how long keys stay in memory after the KEK last unwrapped them; at most MaxTTL.
func WithTTL(ttl time.Duration) Option { return func(r *Keyring) { r.ttl = min(ttl, MaxTTL) } }

// WithTenants sets how many tenants' keys are in memory at most. Those of the one that was not used for the
// longest time are dropped for those of another.
func WithMaxTenants(limit int) Option { return func(r *Keyring) { r.limit = max(limit, 1) } }

// WithCalls sets how many tenants are unlocked or renewed at once, each by a call of its KEKs.
func WithConcurrentUnlocks(atOnce int) Option {
	return func(r *Keyring) { r.atOnce = int64(max(atOnce, 1)) }
}

// WithUses sets for how many packages sealed or opened a tenant's keys stay in memory; 0 is any number.
func WithMaxUses(uses int64) Option { return func(r *Keyring) { r.uses = max(uses, 0) } }

// Open opens a keyring in a directory with one KEK; see New.
func Open(dir string, kek kms.KEK, environment string, options ...Option) (*Keyring, error) {
	store, err := sqlitekeys.Open(dir)
	if err != nil {
		return nil, err
	}
	r, err := New(store, kms.NewSet(kek), environment, options...)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	r.release = store.Close
	return r, nil
}

// New makes a keyring over a store, which stays the caller's. The environment is a label such as dev, staging
// or prod, bound to every key: keysets of another one are refused.
func New(store keystore.Store, keks kms.Set, environment string, options ...Option) (*Keyring, error) {
	if len(environment) > envelope.MaxEnvironment || !utf8.ValidString(environment) {
		return nil, ErrInvalidTenant
	}
	r := &Keyring{
		store: store, keks: keks, environment: environment, ttl: DefaultTTL, limit: DefaultMaxTenants, atOnce: DefaultConcurrentUnlocks, unlockTimeout: defaultUnlockTimeout, onIncident: func(Incident) {},
		tenants: map[string]weak.Pointer[Tenant]{}, missing: map[*Tenant]error{}, pending: map[*Tenant]bool{}, feed: feed{reread: time.Now()},
		rejected: rejected{hashes: map[string][sha256.Size]byte{}}, health: health{pace: rate.NewLimiter(fastest, burst)},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.recent, _ = simplelru.NewLRU[string, *Tenant](math.MaxInt, nil) // bounded by admitted; fails for no size only
	r.system = r.tenant(systemID)
	for _, option := range options {
		option(r)
	}
	r.calls = semaphore.NewWeighted(r.atOnce)
	r.begun = time.Now()
	r.readClock(r.ctx)
	r.active.Go(func() { every(r.ctx, clockInterval, r.readClock) })
	r.active.Go(func() { every(r.ctx, CheckInterval, r.look) })
	r.active.Go(func() { every(r.ctx, CheckInterval, r.probe) })
	return r, nil
}

// Close drops all keys from memory. Tenants that are used afterwards are unlocked again, but other processes'
// changes no longer seen.
func (r *Keyring) Close() {
	r.mu.Lock()
	r.cancel() // not while work begins
	r.mu.Unlock()
	r.active.Wait()
	r.clock.Store(nil)
	for _, t := range r.held() {
		t.lock()
	}
	if r.release != nil {
		_ = r.release() // a tenant that is used afterwards opens it again
	}
}

// held returns the tenants that are in use or keep their document, including one that is being unlocked.
func (r *Keyring) held() (all []*Tenant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tenants {
		if t := t.Value(); t != nil {
			all = append(all, t)
		}
	}
	return all
}

// work begins work in the background, which Close ends and waits for. Close does not concern work that begins afterwards.
func (r *Keyring) work() (ctx context.Context, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return context.WithTimeout(context.Background(), r.unlockTimeout)
	}
	r.active.Add(1)
	ctx, cancel := context.WithTimeout(r.ctx, r.unlockTimeout)
	return ctx, func() {
		cancel()
		r.active.Done()
	}
}

// TTL is how long keys stay in memory.
func (r *Keyring) TTL() time.Duration { return r.ttl }

// Tenant returns a tenant's keys, unlocked; a tenant that has none yet gets a root, durable before this
// returns. The id is 1 to 255 bytes of UTF-8, of any characters. It returns ErrTenant, ErrUnreadable,
// ErrEnvironment, an error of the KEK, or the context's.
func (r *Keyring) Tenant(ctx context.Context, id string) (*Tenant, error) {
	if err := checkTenant(id); err != nil {
		return nil, err
	}
	return r.unlock(ctx, r.tenant(id))
}

func (r *Keyring) unlock(ctx context.Context, t *Tenant) (*Tenant, error) {
	if t.state.Load() == nil {
		if _, err := t.unlock(ctx); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func checkTenant(id string) error {
	if id == "" || len(id) > format.MaxOwner || !utf8.ValidString(id) {
		return ErrInvalidTenant
	}
	return nil
}

// tenant returns the one Tenant of an id, which may be locked.
func (r *Keyring) tenant(id string) *Tenant {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.recent.Get(id); ok {
		return t
	}
	if t := r.tenants[id].Value(); t != nil {
		return t
	}
	t := &Tenant{ring: r, id: id}
	made := weak.Make(t)
	r.tenants[id] = made
	runtime.AddCleanup(t, func(id string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.tenants[id] == made {
			delete(r.tenants, id)
		}
	}, id)
	return t
}

// admitted counts a tenant among the unlocked ones, and locks the least recently used ones beyond the limit.
func (r *Keyring) admitted(t *Tenant) {
	if t.pinned() {
		return
	}
	var evicted []*Tenant
	r.mu.Lock()
	if t.state.Load() != nil { // else it was dropped again
		r.recent.Add(t.id, t)
	}
	for r.recent.Len() > r.limit {
		if _, oldest, ok := r.recent.RemoveOldest(); ok {
			evicted = append(evicted, oldest)
		}
	}
	r.mu.Unlock()
	for _, one := range evicted {
		one.lock()
	}
}

// forget no longer counts a tenant among the unlocked ones. It reports whether the next look is to reread its document.
func (r *Keyring) forget(t *Tenant) (pending bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent.Remove(t.id)
	_, pending = r.pending[t]
	return pending
}
