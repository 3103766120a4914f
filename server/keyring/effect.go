package keyring

import (
	"context"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// HasAdvanced reports whether a key has reached a state, or a later one, in the store. It is for the caller of
// Advance that got an error: the store may have applied the change and lost the reply.
func (r *Keyring) HasAdvanced(ctx context.Context, tenant string, use format.Use, class classify.Class, id format.KeyID, to envelope.State) (bool, error) {
	d, err := r.Document(ctx, tenant)
	if err != nil {
		return false, err
	}
	if s := d.Keyset(use, class); s != nil {
		for i := range s.Keys {
			if s.Keys[i].ID == id {
				return s.Keys[i].State >= to, nil
			}
		}
	}
	return false, nil
}

// IsShredded reports whether a tenant is shredded in the store. It is for the caller of Shred that got an error.
func (r *Keyring) IsShredded(ctx context.Context, tenant string) (bool, error) {
	d, err := r.Document(ctx, tenant)
	return err == nil && d.Shredded(), err
}
