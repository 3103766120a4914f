// Package rotation gives tenants new primary keys, brings the cache under them, and destroys the former keys of
// the cache.
//
// Guarantees: everything that was written opens at every moment, and after a kill or a lost reply at any step
// another process continues; no write of others is lost or reverted, and entries keep their time to live; if many
// processes rotate a tenant at once, each keyset gets one new primary. A former key of the cache opens until it is
// destroyed, and it is destroyed only after two complete sweeps that found nothing under it, both of which started
// when no process could seal under it anymore. Keys of other uses are never destroyed here, because no sweep sees
// their data.
//
// All keysets of a tenant get their new primaries in one change of its document. One sweep serves all tenants: it visits each
// entry of the store once, reseals the entries that are not under the primary of their class, and notes the former keys that it
// found. What the document does not say is kept in one record for each tenant and one document for the sweep; the state of a
// rotation is derived from them when it is read, so no tenant's record is written because a sweep ends. The decisions are pure
// functions (sync.go, decide.go, sweep.go); the rest of the package carries them out.
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

// ErrNoWayBack reports that a rotation cannot be rolled back.
var ErrNoRollback = &codes.Error{
	Of: "key_unusable", Text: "there is no rotation to roll back, or its former keys are compromised, disabled or destroyed",
}

// ErrFull reports that a tenant's keysets have no room for another key. Destroyed keys keep their place, so that no
// backup brings them back.
var ErrKeysetFull = &codes.Error{
	Of: "too_large", Text: "the tenant's keysets have no room for the new keys, and nothing was rotated: rotate single classes, or move the data to another tenant",
}

const (
	// DefaultGrace is how long former keys are kept, and can be made the primaries again, after a rotation.
	DefaultGrace = 24 * time.Hour
	// DefaultRate is how many entries of a part of the store are resealed in a second.
	DefaultRate = 1000
)

// Options configures a Rotator.
type Options struct {
	Keyring  *keyring.Keyring
	Keystore keystore.Store // of the ring
	Store    kv.Store       // of the cache, a kv.Sweeper; nil if another process has it, which then sweeps
	Cache    []cache.Option
	Audit    audit.Recorder
	Memory   *limit.Memory // bounds the entries in memory; nil bounds only their number

	MaxAge  time.Duration // after which a keyset gets a new primary; 0 means never
	MaxUses uint64        // packages after which a keyset gets a new primary; 0 means no limit
	Grace   time.Duration
	Rate    int // entries resealed in a second, for each part of the store; 0 means no limit

	Now func() time.Time // nil means time.Now
}

// Rotator rotates keys. It is safe for concurrent use. It starts no goroutine outside of Serve and Work.
type Rotator struct {
	Options
	id   string        // names this process in leases and announcements
	host string        // names it for people
	look time.Duration // between two looks of Serve for something to do

	lease time.Duration // leaseTime
	wait  time.Duration // firstWait

	mu          sync.Mutex
	seen        Stats
	heard       map[string]heard // leases and announcements of others, by what they are about
	released    []string         // tenants whose rotations go on because of a sweep that this process ended
	unannounced error            // of the last announcement in the keystore
	reasons     []string         // why this process destroys no key, as of its last announcement
}

// New returns a Rotator.
func New(options Options) *Rotator {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Memory == nil {
		options.Memory = limit.NewMemory(0, 0)
	}
	host, _ := os.Hostname() // empty if it has none
	return &Rotator{
		Options: options, id: rand.Text(), host: host, look: look, lease: leaseTime, wait: firstWait, heard: map[string]heard{}, seen: Stats{SpareRotations: -1},
	}
}

func (r *Rotator) now() int64 { return r.Now().UnixMilli() }

// heard is what another process last wrote.
type heard struct {
	content string
	at      time.Time // when this process first saw it
}

// hear notes what another process wrote last, and returns for how long that has been the same. Another process's clock does not matter.
func (r *Rotator) hear(about, content string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.heard[about]
	if !ok || last.content != content {
		last = heard{content, r.Now()}
		r.heard[about] = last
	}
	return r.Now().Sub(last.at)
}

// sleep returns when d is over, or with ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
