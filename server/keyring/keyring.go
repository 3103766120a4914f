// Package keyring keeps the encryption keys of tenants. It seals and opens no data itself: pass a [Tenant] to package
// seal or cache.
//
// A key encryption key (KEK) in a KMS wraps a root, and the root wraps data encryption keys (DEKs), which seal data.
// Each tenant has one root per KEK, so one call of the KMS unlocks all keys of the tenant. A tenant has a keyset for
// each use (such as cache or file) and class (such as PHI). One key of a keyset is the primary, which seals; the others
// only open what they sealed before. A key is in one of four states, which only advance: enabled; compromised (opens,
// but does not seal); disabled (neither, but the wrapped key is kept); destroyed. All keysets of a tenant are in one
// document. A store and a backup have only these documents, which have wrapped keys only. The system document has the
// environment's own keys, which authenticate tokens, shred records and audit logs.
//
// The life cycle of a tenant's keys:
//
//	Open or New                     opens a keyring; Close drops all keys from memory
//	Keyring.Tenant                  unlocks a tenant, or creates it
//	Tenant.Rotate                   makes a new primary
//	Keyring.Advance                 retires or destroys a former key
//	Keyring.Edit, Edit.WrapRoot     rewraps a root by another KEK
//	Keyring.Backup                  backs up all documents
//	Keyring.OpenBackup              verifies a backup; RestoreDocument restores one of its documents
//	Tenant.ExportKeyset, OpenVault  give another program keys under a password
//	Keyring.Shred                   destroys all keys of a tenant
//
// Guarantees:
//   - The store has only wrapped keys, which only the KEKs open.
//   - A keyset document changes as a whole and is durable before its keys seal anything. A kill or a power cut loses no
//     key.
//   - Processes that share a store make one primary, and see each other's changes within about a second.
//   - A document that is damaged, altered or of another environment is rejected, and the store keeps it unchanged.
//   - If a document in a process's memory vanishes from the store, the process writes it back.
//   - Keys stay in memory for a limited time ([WithTTL]) or number of uses ([WithMaxUses]), and are renewed while they
//     are in use. They survive an outage of the KMS for that time, and are then dropped. Shredded or destroyed keys are
//     dropped as soon as the process sees the change.
//   - The number of unlocked tenants ([WithMaxTenants]) and of concurrent unlocks ([WithConcurrentUnlocks]) is limited.
//     Concurrent callers share one unlock, and the rate of calls adapts to the errors of the KMS.
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

// Errors of this package. Its functions also return those of shared/envelope and package kms.
var (
	// ErrInvalidTenant reports that a tenant id or environment label is empty, too long or not UTF-8.
	ErrInvalidTenant = &codes.Error{ErrorCode: "invalid_argument", Message: "a tenant id is 1 to 255 bytes of UTF-8, an environment label at most 64"}
	// ErrNoTenant reports that a tenant has no keys.
	ErrNoTenant = &codes.Error{ErrorCode: "not_found", Message: "the tenant has no keys"}
	// ErrUnreadable reports that a tenant's keyset cannot be read or written.
	ErrUnreadable = keystore.ErrUnavailable
	// ErrWrongEnvironment reports a keyset that belongs to another environment, such as one of prod in dev.
	ErrWrongEnvironment = &codes.Error{ErrorCode: "keyring_unavailable", Message: "the tenant's keyset belongs to another environment"}
	// ErrInUse reports a key that still seals, or may still be needed to open data that is in use.
	ErrInUse = &codes.Error{ErrorCode: "key_unusable", Message: "the key is still in use"}
)

// Keyring manages the keysets in one store. Make one with [Open] or [New], and call [Keyring.Close]. It is safe for
// concurrent use, and several processes may share the store.
type Keyring struct {
	store         keystore.Store
	keks          kms.Set
	environment   string
	ttl           time.Duration
	maxUses       int64 // 0 means no limit
	dueTime       func(*envelope.Document) int64
	onIncident    func(Incident)
	unlockTimeout time.Duration
	maxTenants    int   // in memory
	maxUnlocks    int64 // concurrent
	unlockSem     *semaphore.Weighted
	unlocking     singleflight.Group // by tenant id
	creating      singleflight.Group // of keysets, by use, class and tenant id
	health        health
	rejected      rejected
	provenKEKs    sync.Map      // KEKs that opened a root
	misses        atomic.Uint64 // uses that found the keys not in memory
	unlocked      atomic.Int64  // number of tenants
	restored      atomic.Uint64 // number of documents that were written back
	sealCounts    sealCounts
	feed          feed // used by checkChanges only

	mu      sync.Mutex
	tenants map[string]weak.Pointer[Tenant] // one Tenant per id, as long as it is in use
	recent  *simplelru.LRU[string, *Tenant] // unlocked tenants, by last use
	missing map[*Tenant]error               // documents that vanished, with the error that kept them from being written back
	pending map[*Tenant]bool                // documents to reread at the next check; true if the failure to read is logged
	system  *Tenant                         // owner of the system document
	started time.Time                       // monotonic times are relative to it
	clock   atomic.Pointer[moment]          // at most clockInterval old; nil after Close

	ctx        context.Context // ends at Close
	cancel     context.CancelFunc
	background sync.WaitGroup // goroutines that Close waits for

	closeStore func() error // nil if the store is the caller's
}

// Open opens a keyring in a directory, with one KEK for all classes. It creates the directory if it is missing.
// Otherwise it is like [New]: in particular, the caller must call [Keyring.Close], which also closes the files of the
// directory.
func Open(dir string, kek kms.KEK, environment string, options ...Option) (*Keyring, error) {
	store, err := sqlitekeys.Open(dir)
	if err != nil {
		return nil, err
	}
	r, err := New(store, kms.NewSet(kek), environment, options...)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	r.closeStore = store.Close
	return r, nil
}

// New returns a keyring over a store, which the caller closes after the keyring. The environment is a label such as
// "dev", "staging" or "prod" that is bound to every key: keysets of another environment are rejected.
//
// New starts goroutines that follow the changes of other processes and renew keys in memory. The caller must call
// [Keyring.Close] to end them. New reads nothing from the store and calls no KEK. It returns ErrInvalidTenant for an
// invalid label.
func New(store keystore.Store, keks kms.Set, environment string, options ...Option) (*Keyring, error) {
	if len(environment) > envelope.MaxEnvironment || !utf8.ValidString(environment) {
		return nil, ErrInvalidTenant
	}
	r := &Keyring{
		store: store, keks: keks, environment: environment, ttl: DefaultTTL, maxTenants: DefaultMaxTenants, maxUnlocks: DefaultConcurrentUnlocks, unlockTimeout: defaultUnlockTimeout, onIncident: func(Incident) {},
		tenants: map[string]weak.Pointer[Tenant]{}, missing: map[*Tenant]error{}, pending: map[*Tenant]bool{}, feed: feed{backlogStarted: time.Now()},
		rejected: rejected{hashes: map[string][sha256.Size]byte{}}, health: health{pace: rate.NewLimiter(maxRate, burst)},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.recent, _ = simplelru.NewLRU[string, *Tenant](math.MaxInt, nil) // trackUnlocked limits it; NewLRU fails only for a size of 0
	r.system = r.tenant(systemID)
	for _, option := range options {
		option(r)
	}
	r.unlockSem = semaphore.NewWeighted(r.maxUnlocks)
	r.started = time.Now()
	r.readClock(r.ctx)
	r.background.Go(func() { runEvery(r.ctx, clockInterval, r.readClock) })
	r.background.Go(func() { runEvery(r.ctx, CheckInterval, r.checkChanges) })
	r.background.Go(func() { runEvery(r.ctx, CheckInterval, r.probeKEKs) })
	return r, nil
}

// Close ends the background goroutines, waits for them, and drops all keys from memory: their bytes are overwritten
// when the garbage collector finds that no operation uses them any more. A tenant that is used after Close is
// unlocked again, but no longer follows the changes of other processes.
func (r *Keyring) Close() {
	r.mu.Lock()
	r.cancel() // with r.mu held, so that startWork does not add to the wait group concurrently
	r.mu.Unlock()
	r.background.Wait()
	r.clock.Store(nil)
	for _, t := range r.tenantsInUse() {
		t.lock()
	}
	if r.closeStore != nil {
		_ = r.closeStore() // later calls open it again
	}
}

// tenantsInUse returns all tenants that the program or the keyring refers to, whether they are unlocked or not.
func (r *Keyring) tenantsInUse() (all []*Tenant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tenants {
		if t := t.Value(); t != nil {
			all = append(all, t)
		}
	}
	return all
}

// startWork returns a context for background work, with a timeout. Close cancels it and waits until done is called.
// Close does not wait for work that starts after it.
func (r *Keyring) startWork() (ctx context.Context, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return context.WithTimeout(context.Background(), r.unlockTimeout)
	}
	r.background.Add(1)
	ctx, cancel := context.WithTimeout(r.ctx, r.unlockTimeout)
	return ctx, func() {
		cancel()
		r.background.Done()
	}
}

// TTL returns how long keys stay in memory; see [WithTTL].
func (r *Keyring) TTL() time.Duration { return r.ttl }

// Tenant returns a tenant's keys, unlocked. A new tenant gets a root, which is durable before Tenant returns. The id
// is 1 to 255 bytes of UTF-8. It returns ErrInvalidTenant, ErrUnreadable, ErrWrongEnvironment, an error of the KEK,
// or the error of ctx.
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

// tenant returns the Tenant of an id, which may be locked.
func (r *Keyring) tenant(id string) *Tenant {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.recent.Get(id); ok {
		return t
	}
	if t := r.tenants[id].Value(); t != nil {
		return t
	}
	t := &Tenant{ring: r, id: id, mu: newMutex()}
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

// trackUnlocked adds a tenant to the unlocked ones, and locks the least recently used tenants beyond the limit.
func (r *Keyring) trackUnlocked(t *Tenant) {
	if t.pinned() {
		return
	}
	var evicted []*Tenant
	r.mu.Lock()
	if t.state.Load() != nil { // otherwise it was dropped again
		r.recent.Add(t.id, t)
	}
	for r.recent.Len() > r.maxTenants {
		if _, oldest, ok := r.recent.RemoveOldest(); ok {
			evicted = append(evicted, oldest)
		}
	}
	r.mu.Unlock()
	for _, one := range evicted {
		one.lock()
	}
}

// untrack removes a tenant from the unlocked ones. It reports whether the next check is to reread its document.
func (r *Keyring) untrack(t *Tenant) (pending bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent.Remove(t.id)
	_, pending = r.pending[t]
	return pending
}
