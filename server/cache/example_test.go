package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "coffer")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	kek, err := kms.Open(ctx, "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		log.Fatal(err)
	}
	ring, err := keyring.Open(filepath.Join(dir, "keys"), kek, "dev")
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	tenant, err := ring.Tenant(ctx, "clinic-1")
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlitekv.Open(filepath.Join(dir, "cache"), slog.New(slog.DiscardHandler)) // or cache.Wrap(client, …) for Redis
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	c := cache.New(store, seal.NewSealer(tenant))
	err = c.SetEncrypted(ctx, "patient:1", []byte("O positive"), classify.PHI,
		cache.TTL(time.Hour), cache.Context(map[string]string{"patient": "P1"}))
	if err != nil {
		log.Fatal(err)
	}
	value, err := c.GetDecrypted(ctx, "patient:1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", value)
	// Output: O positive
}

// A batch takes one call of the store, whatever the number of entries.
func ExampleCache_GetMany() {
	ctx := context.Background()
	c, closeCache, err := newExampleCache(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer closeCache()

	err = c.SetMany(ctx, []cache.Item{
		{Key: "patient:1", Value: []byte("O positive"), Class: classify.PHI, TTL: time.Hour},
		{Key: "patient:2", Value: []byte("A negative"), Class: classify.PHI},
	})
	if err != nil {
		log.Fatal(err)
	}
	results, err := c.GetMany(ctx, []string{"patient:1", "patient:2", "patient:3"})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range results {
		if errors.Is(r.Err, cache.ErrNotFound) {
			fmt.Println("not found")
			continue
		}
		fmt.Printf("%s %s %v\n", r.Value, r.Class, r.Err)
	}
	// Output:
	// O positive phi <nil>
	// A negative phi <nil>
	// not found
}

// newExampleCache returns an embedded cache in a temporary directory.
func newExampleCache(ctx context.Context) (c *cache.Cache, closeCache func(), err error) {
	dir, err := os.MkdirTemp("", "coffer")
	if err != nil {
		return nil, nil, err
	}
	kek, err := kms.NewLocal(make([]byte, 32)) // a real program uses 32 random bytes
	if err != nil {
		return nil, nil, err
	}
	ring, err := keyring.Open(filepath.Join(dir, "keys"), kek, "dev")
	if err != nil {
		return nil, nil, err
	}
	tenant, err := ring.Tenant(ctx, "clinic-1")
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlitekv.Open(filepath.Join(dir, "cache"), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	return cache.New(store, seal.NewSealer(tenant)), func() {
		_ = store.Close()
		ring.Close()
		_ = os.RemoveAll(dir)
	}, nil
}
