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

// errProbe reports a store that returns something else than what it took.
var errProbe = errors.New("the store does not return what was just written")

// Store returns a check's Run that seals a small value, writes it to the store, reads it back and opens it. The entry has the
// owner that no tenant has, so no list, quota or audit event contains it, and a name of this process. The value is sealed under a
// key that only this process knows: whether tenants' keys can be used is for another check.
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
		pkg, err := sealer.Seal(nil, seal.Request{Use: format.UseCache, Class: classify.Confidential, Type: format.Bytes, Place: place}, value)
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
		o, err := sealer.OpenStored(nil, stored, place, envelope.OpenPolicy{Use: format.UseCache})
		if !ok || err != nil || !bytes.Equal(o.Value, value) {
			return errProbe
		}
		return nil
	}, nil
}
