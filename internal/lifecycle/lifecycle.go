// Package lifecycle is what an operator sees of tenants' keys, and how single ones are disabled and destroyed by hand.
//
// It refuses a key that may still be needed, and returns the reason: it is the primary, a rotation that is not over may go back to
// it, a process may not have heard yet that it is no longer the primary, or it still opens and was not disabled before it is
// destroyed. It refuses all keys of the cache, which rotations destroy. A change is recorded before it is made, so that a restore
// honors it, and can be made again; no other key is touched.
//
// Nothing can be known of packages, files and database fields: they lie with those who had them sealed. So
// [Retirement.Warning] says so, and it is for the caller to have a person confirm it.
package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// The sentinels; those of keyring and envelope come through as well.
var (
	// ErrNoKey says that a tenant has no such key.
	ErrNoKey = &codes.Error{Of: "not_found", Text: "the tenant has no such key of that use and class"}
	// ErrState says that a key cannot come to a state, or not from the one that it has. States only advance.
	ErrState = &codes.Error{Of: "key_unusable", Text: "the key's state does not allow it"}
)

// refusal says why a key may not be disabled or destroyed. It is keyring.ErrInUse or ErrState, with the
// reason in its place.
type refusal struct {
	of   *codes.Error
	text string
}

func (r *refusal) Error() string { return "coffer: " + r.text }
func (r *refusal) Code() string  { return r.of.Of }
func (r *refusal) Unwrap() error { return r.of }

func inUse(text string, args ...any) error {
	return &refusal{keyring.ErrInUse, fmt.Sprintf(text, args...)}
}

func wrongState(text string) error { return &refusal{ErrState, text} }

// Options is what a Keys works on.
type Options struct {
	Rotator   *rotation.Rotator // of the same keyring
	Audit     audit.Recorder
	Operation string       // what its events are of: the command, or the operation's id in the OpenAPI document
	Reason    audit.Reason // why somebody asked for it; recorded
}

// Keys disables and destroys keys. It is safe for concurrent use, also with servers and rotations.
type Manager struct{ Options }

// New makes a Keys.
func New(options Options) *Manager { return &Manager{options} }

// Key names one key of a tenant.
type Key struct {
	Tenant string
	Use    format.Use
	Class  classify.Class
	ID     format.KeyID
}

// Retirement is a change of a key's state that nothing known stands against.
type Retirement struct {
	Key      Key
	To       envelope.State // Disabled or Destroyed
	From     envelope.State // the key's as it was looked at
	Created  time.Time
	Document *envelope.Document // of the tenant, as it was looked at

	keys *Manager
}

// Done reports whether the key has that state already.
func (r *Retirement) Done() bool { return r.From == r.To }

// Apply makes the change, after another look. If the key has the state already, Apply records that. It returns Plan's errors, and
// those of the audit log, without which nothing is changed. Once the change is recorded, the cancellation of ctx does not stop it.
func (r *Retirement) Apply(ctx context.Context) error {
	now, err := r.keys.Prepare(ctx, r.Key, r.To)
	if err != nil {
		return err
	}
	e := r.event(now.From)
	if now.Done() {
		return audit.RecordAlreadyDone(ctx, r.keys.Audit, e)
	}
	ring, key := r.keys.Rotator.Keyring, r.Key
	return audit.Announce(ctx, r.keys.Audit, func(ctx context.Context) error {
		return ring.Advance(ctx, key.Tenant, key.Use, key.Class, key.ID, r.To)
	}, e)
}

func (r *Retirement) event(from envelope.State) audit.Event {
	action := audit.KeyDestroy
	if r.To == envelope.Disabled {
		action = audit.KeyDisable
	}
	facts := audit.Facts{audit.FactUse: r.Key.Use.String(), audit.FactFrom: from.String()}
	return audit.Event{
		Action: action, Operation: r.keys.Operation, Tenant: r.Key.Tenant, Class: r.Key.Class, KeyID: r.Key.ID, Facts: facts.With(r.keys.Reason),
	}
}

// Warning tells a person what the change does and what is not known, in a few sentences.
func (r *Retirement) Warning() string {
	does := "Nothing opens under a destroyed key, and its material is gone. Only backups of the keysets that were made before still have it; they honour the destruction where the audit log is."
	if r.To == envelope.Disabled {
		does = "A disabled key opens nothing: what is under it is refused with key_unusable. It is never enabled again."
	}
	return does + " No scan sees what is sealed under keys of packages, files and database fields: it lies with those who had it sealed, and in their backups. " +
		"If anything of it is still needed, have it opened and sealed anew before."
}
