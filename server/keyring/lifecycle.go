package keyring

import (
	"context"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Rotate makes a new key the primary of a use and class, and returns the id of the primary. Former keys still open
// their packages.
//
// If due is not nil, Rotate calls it with the present keyset, and makes no key if it returns false. So if several
// processes decide to rotate an old key, only one of them makes a new key. due may be called several times.
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

// Advance moves a key to a later state: compromised, disabled or destroyed. No state can be reverted. Packages that
// are still sealed under a disabled or destroyed key do not open: the caller must exclude that. Advance returns
// ErrInUse if a primary would be disabled or destroyed, and envelope.ErrUnknownKey.
func (r *Keyring) Advance(ctx context.Context, tenant string, use format.Use, class classify.Class, id format.KeyID, to envelope.State) error {
	return r.Edit(ctx, tenant, func(e *Edit) error { return e.Advance(use, class, id, to) })
}

// Shred destroys a tenant's roots and keys, so that nothing sealed under them opens again. This process stops using
// the keys immediately, other processes within [CheckInterval], and processes that cannot reach the store within
// their TTL. The tenant stays shredded even if an earlier backup is restored. Shred does not call the tenant's KEKs:
// a key of the system document authenticates the shred records. It returns ErrNoTenant if the tenant has no document.
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
