// Package rotation gives tenants new primary keys, brings what the cache holds under them, and retires the
// former keys of the cache.
//
// What it guarantees: at every moment everything that was written opens, or, after a kill at any point, opens
// when somebody has gone on; no write of others is lost or taken back; entries keep their time to live; many
// processes that rotate at once make one primary; a former key of the cache is destroyed only when two goes
// through all of its tenant's entries found nothing under it, the first of which began when no process could
// write under it any more, the second when it had been disabled for as long. Keys of other uses are never
// destroyed here, for no scan sees what is sealed under them.
//
// What is known of a rotation is one record by tenant in the store of keysets, changed by compare-and-swap. A
// lease keeps one process at work at a time; that two are does no harm.
package rotation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/limit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrNoWayBack says that a rotation cannot be rolled back.
var ErrNoWayBack = &codes.Error{
	Of: "key_unusable", Text: "there is no rotation to roll back, its former keys are retired already, or a compromised one is still being retired",
}

// ErrFull says that a tenant's keysets have no room for another key. Destroyed ones too keep their place, so
// that no backup brings them back.
var ErrFull = &codes.Error{
	Of: "too_large", Text: "the tenant's keysets have no room for the new keys, and nothing was rotated: rotate single classes, or move the data to another tenant",
}

const (
	// DefaultGrace is for how long the former keys stay as they are once everything is under the new ones.
	DefaultGrace = 24 * time.Hour
	// DefaultRate is how many entries a second are looked at.
	DefaultRate = 1000
)

// Options is what a Rotator works on.
type Options struct {
	Ring        *keyring.Keyring
	Keystore    keystore.Store // of the ring
	Environment string         // of the ring
	Store       kv.Store       // of the cache; nil where it is another process's, which then does the work on entries
	Cache       []cache.Option
	Audit       audit.Recorder
	Memory      *limit.Bytes // bounds what the entries at work hold in memory; nil is by nothing but their number

	Age   time.Duration // after which a keyset gets a new primary; 0 is never
	Uses  uint64        // packages after which it does; 0 is any number
	Grace time.Duration
	Rate  int // entries a second; 0 is any number

	Now func() time.Time // nil is time.Now
}

// Rotator rotates. It is safe for concurrent use.
type Rotator struct {
	Options
	holder string        // names this process in leases
	look   time.Duration // how often Serve looks

	mu   sync.Mutex
	seen Seen
	left map[string]int // entries that are yet to be gone through, by tenant

	paused map[string]string // where a tenant's scan goes on as if it had not stopped

	heard struct { // another's lease
		content []byte
		at      time.Time // when it was first seen
	}
}

// New makes a Rotator.
func New(options Options) *Rotator {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Memory == nil {
		options.Memory = limit.NewBytes(0, 0)
	}
	return &Rotator{Options: options, holder: rand.Text(), look: look, left: map[string]int{}, paused: map[string]string{}}
}

// Order says what is to be rotated.
type Order struct {
	Class       classify.Class // 0 is every one
	Compromised bool           // the former keys are known to others: they never seal again, and there is no way back and no grace
	By          By             // who gives it

	due func(record *Record, s *envelope.Keyset) bool // nil is always
}

// Begin makes new primaries for a tenant's keysets, of every use, and has its cache entries brought under
// them by Work. Where a rotation is at its beginning already, that one is taken up instead, if it is what is
// ordered. What is not over of another one goes on. It returns keyring.ErrNoTenant, envelope.ErrKeyDestroyed
// for a tenant that was shredded, ErrFull, and the errors of the KEK and of the store of keysets.
func (r *Rotator) Begin(ctx context.Context, tenant string, order Order) (*Record, error) {
	if _, err := r.settle(ctx, tenant); err != nil {
		return nil, err
	}
	record, err := r.edit(ctx, tenant, func(record *Record) error {
		d, err := r.Ring.Document(ctx, tenant)
		if err != nil {
			return err
		}
		if d.Shredded() {
			return envelope.ErrKeyDestroyed
		}
		next, err := r.plan(record, d, order)
		if err != nil {
			return err
		}
		*record = *next
		return nil
	})
	if err == errNothing {
		return record, nil
	}
	if err != nil {
		return nil, err
	}
	return r.settle(ctx, tenant)
}

// errNothing says that there is nothing to rotate, or that it is under way.
var errNothing = errors.New("rotation: nothing to begin")

// plan gives the record of the rotation that is ordered, and of what is not over of those before; errNothing
// where there is nothing to rotate, or it is under way. It uses the document up.
func (r *Rotator) plan(record *Record, d *envelope.Document, order Order) (*Record, error) {
	full := false
	next := &Record{
		Version: version, Tenant: record.Tenant, Environment: record.Environment,
		ID: rand.Text(), State: Rotating, Compromised: order.Compromised, Begun: r.now(), By: order.By,
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if s.Use == format.UseStorage || order.Class != 0 && s.Class != order.Class || order.due != nil && !order.due(record, s) {
			if n := record.Sealed[ID(s.Primary)]; n > 0 {
				next.count(ID(s.Primary), n)
			}
			continue
		}
		k := Keyset{Use: s.Use, Class: s.Class, Epoch: s.Epoch, From: ID(s.Primary), Compromised: order.Compromised, By: order.By}
		if room(d, s) {
			next.Keysets = append(next.Keysets, k)
			continue
		}
		full = true
	}
	switch {
	case full && (order.due == nil || len(next.Keysets) == 0): // of those that are due, the ones that have room are rotated
		return nil, ErrFull
	case len(next.Keysets) == 0 || record.Fresh() && record.covers(next):
		return nil, errNothing
	case record.Active():
		next.join(record)
	}
	return next, nil
}

// room reports whether another key fits into a keyset, and adds one that is none.
func room(d *envelope.Document, s *envelope.Keyset) bool {
	none := envelope.Key{State: envelope.Enabled, CreatedAt: s.RotatedAt(), Wrapped: make([]byte, envelope.WrappedSize)}
	_, _ = rand.Read(none.ID[:]) // cannot fail
	if d.AddKey(s.Use, s.Class, none) != nil {
		return false
	}
	_, err := d.Append(nil)
	return err == nil
}

// covers reports whether a rotation does what another one that is planned would: it is no wider, and as strict.
func (r *Record) covers(next *Record) bool {
	for _, k := range next.Keysets {
		if !slices.ContainsFunc(r.Keysets, func(mine Keyset) bool {
			return mine.Use == k.Use && mine.Class == k.Class && mine.Due == 0 && (mine.Compromised || !k.Compromised)
		}) {
			return false
		}
	}
	return true
}

// join takes over what is not over of the rotation before: the keys that it has yet to retire, and its ways
// back. There is none to a key that is compromised now.
func (r *Record) join(before *Record) {
	r.Former, r.Compromised = before.Former, r.Compromised || before.Compromised
	var kept []Keyset
	for _, k := range before.Keysets {
		compromised := func(next Keyset) bool { return next.Compromised && next.Use == k.Use && next.Class == k.Class }
		if !k.Final && !slices.ContainsFunc(r.Keysets, compromised) {
			kept = append(kept, k)
		}
	}
	r.Keysets = append(kept, r.Keysets...)
}

// Rollback makes the former primaries of a tenant's rotations the primaries again, of all whose former keys
// no first scan was clean of. What was sealed meanwhile still opens. It returns ErrNoWayBack.
func (r *Rotator) Rollback(ctx context.Context, tenant string, by By) (*Record, error) {
	if _, err := r.settle(ctx, tenant); err != nil {
		return nil, err
	}
	record, err := r.edit(ctx, tenant, func(record *Record) error {
		if record.State == RolledBack {
			return nil
		}
		if !slices.ContainsFunc(record.Keysets, func(k Keyset) bool { return record.Reversible(&k) }) {
			return ErrNoWayBack
		}
		record.State, record.By = RollingBack, by
		return nil
	})
	if err != nil || record.State == RolledBack {
		return record, err
	}
	return r.settle(ctx, tenant)
}

// audit records a change of a key, whichever process makes it, as of who ordered it.
func (r *Rotator) audit(ctx context.Context, action audit.Action, by By, tenant string, class classify.Class, id ID) error {
	if err := r.Audit.Record(ctx, event(action, by, tenant, class, id)); err != nil {
		return fmt.Errorf("rotation: %w", err)
	}
	return nil
}

func event(action audit.Action, by By, tenant string, class classify.Class, id ID) audit.Event {
	return audit.Event{
		Action: action, Operation: "rotate", Tenant: tenant, Class: class, KeyID: format.KeyID(id),
		RequestID: by.RequestID, Issuer: by.Issuer, Subject: by.Subject,
	}
}
