package readiness

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	collection = "ready"
	probeTTL   = time.Minute
	keySize    = 32
)

// errProbe reports that a store does not return the value that was written.
var errProbe = errors.New("the store does not return what was just written")

// StoreProbe returns a Check.Run that seals a small value, writes it to the store, reads it back and opens it. The
// entry belongs to the empty owner, which no tenant has, so it appears in no list, quota or audit event. Its name is
// unique to this process. The value is sealed under a random key of this process: another check covers the keys of
// tenants.
func StoreProbe(store kv.Store) (func(ctx context.Context) error, error) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails: package crypto/rand
	service, err := seal.NewService(key)
	if err != nil {
		return nil, err
	}
	name, sealer := rand.Text(), service.Sealer()
	place := format.Place{Collection: collection, Name: name, Named: true}
	at := kv.Prefix("", collection) + name
	return func(ctx context.Context) error {
		value := []byte(rand.Text())
		pkg, err := sealer.Seal(ctx, nil, seal.Request{Use: format.UseCache, Class: classify.Confidential, Type: format.Bytes, Place: place}, value)
		if err != nil {
			return err
		}
		if err := kv.Set(ctx, store, at, pkg, probeTTL); err != nil {
			return err
		}
		stored, ok, err := kv.Get(ctx, store, at)
		if err != nil {
			return err
		}
		o, err := sealer.OpenStored(ctx, nil, stored, place, envelope.OpenPolicy{Use: format.UseCache})
		if !ok || err != nil || !bytes.Equal(o.Value, value) {
			return errProbe
		}
		return nil
	}, nil
}
