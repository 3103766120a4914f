package keyring

import (
	"context"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Rotate makes a new key the primary of a use and class. What the former ones sealed still opens. Where due
// is given, it is asked of the keyset as it is at that moment, and false leaves it, so that of many processes
// which find a key too old one makes the new one. It returns the primary.
func (t *Tenant) Rotate(ctx context.Context, use format.Use, class classify.Class, due func(*envelope.Keyset) bool) (primary format.KeyID, err error) {
	err = t.ring.Edit(ctx, t.id, func(e *Edit) error {
		s := e.Keyset(use, class)
		if s != nil && due != nil && !due(s) {
			primary = s.Primary()
			return nil
		}
		var err error
		primary, err = e.newKey(ctx, use, class)
		return err
	})
	return primary, err
}

// Advance moves a key on to a later state: disabled, compromised or destroyed, of which none can be taken
// back. It returns ErrInUse for a primary that would be disabled or destroyed, and envelope.ErrUnknownKey.
// Whether anything is still sealed under the key is for the caller to know.
func (r *Keyring) Advance(ctx context.Context, tenant string, use format.Use, class classify.Class, id format.KeyID, to envelope.State) error {
	return r.Edit(ctx, tenant, func(e *Edit) error { return e.Advance(use, class, id, to) })
}

// Shred removes a tenant's roots and keys, so that nothing sealed under them opens again: at once in this
// process, within CheckInterval in others that reach the store of keysets, within TTL in those that do not.
// The tenant stays shredded, even if an earlier backup is restored over it. The tenant's KEKs are not asked: the key of
// the system document authenticates the shred records.
func (r *Keyring) Shred(ctx context.Context, tenant string) error {
	if err := checkTenant(tenant); err != nil {
		return err
	}
	key, err := r.shredKey(ctx)
	if err != nil {
		return err
	}
	return r.change(ctx, tenant, func(d *envelope.Document, missing bool) (roots, error) {
		if missing {
			return nil, ErrNoTenant
		}
		if err := d.Shred(now()); err != nil {
			return nil, err
		}
		return nil, d.Sign(authenticator(nil, []*secret.Key{key}))
	})
}
