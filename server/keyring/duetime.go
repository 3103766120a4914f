package keyring

import (
	"context"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// WithDueTime sets the function that computes when the service must look at a keyset document again, in milliseconds
// since 1970; 0 means never. The keyring calls it with each document that it writes, and stores the result in the
// keystore's index of due times. The default is never. Only Coffer's own service needs this option, for rotation by
// age.
func WithDueTime(dueTime func(*envelope.Document) int64) Option {
	return func(r *Keyring) { r.dueTime = dueTime }
}

// swap replaces a tenant's document and its due time.
func (r *Keyring) swap(ctx context.Context, d *envelope.Document, old, content []byte) (bool, error) {
	var due int64
	if r.dueTime != nil {
		due = r.dueTime(d)
	}
	return keystore.Replace(ctx, r.store, keystore.Keysets, d.Owner, old, content, due)
}
