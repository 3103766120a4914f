package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/config"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// openKeystore opens where keysets are kept, and names it for people. The caller calls close at the end.
func openKeystore(ctx context.Context, c *config.Config, log *slog.Logger) (store keystore.Store, where string, close func() error, err error) {
	if c.Keys.Redis == "" {
		where = filepath.Join(c.Data, "keys")
		if _, err := os.Stat(where); errors.Is(err, fs.ErrNotExist) && wasUsed(c) { // nothing is made where they are to be put back
			return nil, "", nil, missingKeys(c, where)
		}
		store, err = keystore.OpenDirectory(where)
		return store, where, func() error { return nil }, err
	}
	redis, err := c.Keys.Open()
	if err != nil {
		return nil, "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, firstPing)
	defer cancel()
	switch err := redis.CheckDurable(ctx); {
	case errors.Is(err, rediskv.ErrNotDurable):
		return nil, "", nil, errors.Join(fmt.Errorf("COFFER_KEYS_REDIS_URL: %s", strings.TrimPrefix(err.Error(), "rediskv: ")), redis.Close())
	case err != nil:
		log.Warn("whether the Redis of the keysets keeps what it is given cannot be told: it needs appendonly yes, appendfsync always and "+
			"maxmemory-policy noeviction", "error", err)
	}
	return keystore.OverKV(redis), "the Redis of COFFER_KEYS_REDIS_URL", redis.Close, nil
}

// wasUsed reports whether there is an embedded cache, which was written with some keys.
func wasUsed(c *config.Config) bool {
	_, err := os.Stat(cacheDir(c))
	return err == nil
}

func missingKeys(c *config.Config, where string) error {
	return fmt.Errorf("the keys that %s was written with are missing from %s: restore them, or remove the cache", cacheDir(c), where)
}

// holdsKeys reports whether there is any keyset.
func holdsKeys(ctx context.Context, store keystore.Store) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, err := range store.All(ctx, keystore.Keysets) {
		return err == nil, err
	}
	return false, nil
}
