// Package lifecycle describes the keys of tenants for operators, and disables and destroys single keys on request.
//
// A key that may still be needed is refused, with the reason:
//   - It is the primary of its keyset.
//   - A running rotation can still be rolled back to it.
//   - A process may not know yet that it is no longer the primary, and may seal under it.
//   - It must be disabled before it can be destroyed. A compromised key can be destroyed at once.
//   - It is a key of the cache. Rotations destroy those.
//
// A change is recorded in the audit log before it is made, so that a restore from a backup repeats it. A failed change
// can be repeated. No other key is changed.
//
// The server does not know the packages, files and database fields that were sealed under a key, because their owners
// keep them. [Retirement.Warning] says so, and the caller must let a person confirm the change.
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

// Errors of this package. Its functions also return errors of keyring and envelope.
var (
	// ErrNoKey reports that a tenant has no such key.
	ErrNoKey = &codes.Error{ErrorCode: "not_found", Message: "the tenant has no such key of that use and class"}
	// ErrState reports that a key cannot get a state, or not from its current state. States only advance.
	ErrState = &codes.Error{ErrorCode: "key_unusable", Message: "the key's state does not allow it"}
)

// refusal is the reason why a key may not be disabled or destroyed. It wraps keyring.ErrInUse or ErrState.
type refusal struct {
	of   *codes.Error
	text string
}

func (r *refusal) Error() string { return "coffer: " + r.text }
func (r *refusal) Code() string  { return r.of.ErrorCode }
func (r *refusal) Unwrap() error { return r.of }

func inUse(text string, args ...any) error {
	return &refusal{keyring.ErrInUse, fmt.Sprintf(text, args...)}
}

func wrongState(text string) error { return &refusal{ErrState, text} }

// Options configures a Manager.
type Options struct {
	Rotator   *rotation.Rotator
	Audit     audit.Recorder
	Operation string       // for audit events: the command, or the operation's id in the OpenAPI document
	Reason    audit.Reason // of the request; recorded in the audit log
}

// Manager disables and destroys keys. It is safe for concurrent use, also while servers and rotations run.
type Manager struct{ Options }

// New returns a Manager.
func New(options Options) *Manager { return &Manager{options} }

// Key identifies one key of a tenant.
type Key struct {
	Tenant string
	Use    format.Use
	Class  classify.Class
	ID     format.KeyID
}

// Retirement is a change of a key's state that was checked and found safe.
type Retirement struct {
	Key      Key
	To       envelope.State // Disabled or Destroyed
	From     envelope.State // the state of the key at the time of the check
	Created  time.Time
	Document *envelope.Document // of the tenant, at the time of the check

	manager *Manager
}

// Done reports whether the key already has the state.
func (r *Retirement) Done() bool { return r.From == r.To }

// Apply checks the change again and makes it. If the key already has the state, Apply only records that. It returns the
// errors of Prepare and of the audit log. If the audit log fails, nothing is changed. Once the change is recorded, the
// cancellation of ctx does not stop it.
func (r *Retirement) Apply(ctx context.Context) error {
	now, err := r.manager.Prepare(ctx, r.Key, r.To)
	if err != nil {
		return err
	}
	e := r.event(now.From)
	if now.Done() {
		return audit.RecordAlreadyDone(ctx, r.manager.Audit, e)
	}
	ring, key := r.manager.Rotator.Keyring, r.Key
	return audit.Announce(ctx, r.manager.Audit, func(ctx context.Context) error {
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
		Action: action, Operation: r.manager.Operation, Tenant: r.Key.Tenant, Class: r.Key.Class, KeyID: r.Key.ID, Facts: facts.With(r.manager.Reason),
	}
}

// Warning describes the effect of the change and its risks in a few sentences.
func (r *Retirement) Warning() string {
	does := "Nothing opens under a destroyed key, and its material is deleted. Only backups of the keysets from before still contain it; a restore destroys it again if the audit log is available."
	if r.To == envelope.Disabled {
		does = "A disabled key opens nothing: values under it are refused with key_unusable. It is never enabled again."
	}
	return does + " No scan sees packages, files and database fields that were sealed under the key: their owners keep them, and have backups of them. " +
		"If any of them are still needed, open them and seal them again first."
}
