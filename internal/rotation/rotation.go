// Package rotation gives keysets new primary keys, re-encrypts the cache under them, and destroys the former keys of
// the cache.
//
// A rotation runs in steps. All keysets of a tenant get a new primary in one change of the tenant's document. A sweep
// then visits every entry of the cache and re-encrypts those that are not under the primary of their class. During a
// grace period, a rollback can make the former keys the primaries again. After that, the former keys of the cache are
// retired: once two complete sweeps have found no entry under a key, the key is destroyed. Keys of other uses are never
// destroyed here, because no sweep sees the data under them.
//
// Guarantees:
//   - Every value that was written opens at every moment, until its key is destroyed.
//   - A process may be killed, or lose a reply, at any step. Another process continues from there.
//   - A sweep never overwrites or reverts a concurrent write, and entries keep their time to live.
//   - If many processes rotate a tenant at the same time, each keyset gets one new primary.
//   - A former key is destroyed only after two complete sweeps that started when no process could seal under it anymore.
//
// One sweep serves all tenants. Apart from the keysets, the state consists of one record per tenant and one document
// for the sweep, both authenticated by a MAC. The state of a rotation is derived from them when a record is read, so
// the end of a sweep does not write the records of all tenants. The decisions are pure functions (decide.go,
// reconcile.go, sweep.go). The rest of the package carries them out.
package rotation

import (
	"context"
	"crypto/rand"
	"os"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/codes"
)

// ErrNoRollback reports that a rotation cannot be rolled back.
var ErrNoRollback = &codes.Error{
	ErrorCode: "key_unusable", Message: "there is no rotation to roll back, or its former keys are compromised, disabled or destroyed",
}

// ErrKeysetFull reports that a tenant's keysets cannot take another key. Destroyed keys still count, because their
// entries keep a restored backup from bringing them back.
var ErrKeysetFull = &codes.Error{
	ErrorCode: "too_large", Message: "the tenant's keysets cannot take more keys, and nothing was rotated: rotate single classes, or move the data to another tenant",
}

const (
	// DefaultGrace is how long former keys are kept after a rotation. Until then, a rollback is possible.
	DefaultGrace = 24 * time.Hour
	// DefaultRate is how many entries per second are re-encrypted in each part of the store.
	DefaultRate = 1000
)

// Options configures a Rotator. Keyring, Keystore and Audit are required.
type Options struct {
	Keyring  *keyring.Keyring
	Keystore keystore.Store // the store that Keyring uses
	Store    kv.Store       // the cache; must be a kv.Sweeper. If nil, another process sweeps the cache
	Cache    []cache.Option
	Audit    audit.Recorder
	Memory   *limit.Memory // bounds the memory for entries; nil bounds only their number

	MaxAge  time.Duration // age at which a keyset gets a new primary; 0 means no limit
	MaxUses uint64        // number of packages after which a keyset gets a new primary; 0 means no limit
	Grace   time.Duration
	Rate    int // entries re-encrypted per second in each part of the store; 0 means no limit

	Now func() time.Time // nil means time.Now
}

// Rotator rotates keys. It is safe for concurrent use. Goroutines run only during Serve and RunPending.
type Rotator struct {
	Options
	id           string        // random; identifies this process in leases and announcements
	host         string        // shown to people with id
	pollInterval time.Duration // time between two checks of Serve for pending work

	leaseTime      time.Duration // defaultLeaseTime, except in tests
	firstRetryWait time.Duration // defaultRetryWait, except in tests

	mu              sync.Mutex
	stats           Stats
	observed        map[string]observation // last leases and announcements of other processes, by subject
	unblocked       []string               // tenants whose rotations can continue because of a sweep that this process finished
	announceErr     error                  // of the last announcement in the keystore
	unsharedReasons []string               // why this process may not destroy keys, as of its last announcement
}

// New returns a Rotator. It does no I/O.
func New(options Options) *Rotator {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Memory == nil {
		options.Memory = limit.NewMemory(0, 0)
	}
	host, _ := os.Hostname() // empty if the host has no name
	return &Rotator{
		Options: options, id: rand.Text(), host: host, pollInterval: defaultPollInterval, leaseTime: defaultLeaseTime, firstRetryWait: defaultRetryWait, observed: map[string]observation{}, stats: Stats{SpareRotations: -1},
	}
}

func (r *Rotator) now() int64 { return r.Now().UnixMilli() }

// observation is the last content that another process wrote.
type observation struct {
	content string
	since   time.Time // when this process first read it, by its own clock
}

// unchangedFor remembers the content that another process wrote about a subject. It returns how long the content has
// been the same. Only this process's clock is used.
func (r *Rotator) unchangedFor(subject, content string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.observed[subject]
	if !ok || last.content != content {
		last = observation{content, r.Now()}
		r.observed[subject] = last
	}
	return r.Now().Sub(last.since)
}

// sleep returns nil after d, or ctx's error if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
