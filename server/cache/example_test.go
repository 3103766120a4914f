package cache_test

import (
	"context"
	"fmt"
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
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "coffer")
	must(err)
	defer os.RemoveAll(dir)

	kek, err := kms.Open(ctx, "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	must(err)
	ring, err := keyring.Open(filepath.Join(dir, "keys"), kek, "dev")
	must(err)
	tenant, err := ring.Tenant(ctx, "clinic-1")
	must(err)
	store, err := sqlitekv.Open(filepath.Join(dir, "cache"), slog.New(slog.DiscardHandler)) // or cache.Wrap a go-redis client
	must(err)
	defer store.Close()

	c := cache.New(store, seal.NewSealer(tenant))
	must(c.SetEncrypted(ctx, "patient:1", []byte("O positive"), classify.PHI, cache.TTL(time.Hour), cache.Context(map[string]string{"patient": "P1"})))
	value, err := c.GetDecrypted(ctx, "patient:1")
	must(err)
	fmt.Printf("%s\n", value)
	// Output: O positive
}
