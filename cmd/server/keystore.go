package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// openKeystore opens the keystore, and returns its location for messages. The caller calls close.
func openKeystore(ctx context.Context, c *config.Config, log *slog.Logger) (store keystore.Store, where string, close func() error, err error) {
	if c.Keys.Redis == "" {
		where = keysDir(c)
		// The directory must not be created if the keysets are to be restored. The audit log is created after it.
		if _, err := os.Stat(where); errors.Is(err, fs.ErrNotExist) && (hadKeysets(c) || exists(auditPath(c))) {
			return nil, "", nil, missingKeysError(c, where)
		}
		embedded, err := sqlitekeys.Open(where)
		if err != nil {
			return nil, "", nil, err
		}
		return embedded, where, embedded.Close, nil
	}
	redis, err := c.Keys.Open()
	if err != nil {
		return nil, "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	switch err := redis.CheckDurable(ctx); {
	case errors.Is(err, rediskv.ErrNotDurable):
		return nil, "", nil, errors.Join(fmt.Errorf("COFFER_KEYS_REDIS_URL: %s", strings.TrimPrefix(err.Error(), "rediskv: ")), redis.Close())
	case err != nil:
		log.Warn("cannot find out whether the Redis of the keysets is durable: it needs appendonly yes, appendfsync always and "+
			"maxmemory-policy noeviction", "error", err)
	}
	return rediskeys.New(redis.Client()), "the Redis of COFFER_KEYS_REDIS_URL", redis.Close, nil
}

// hasKeysets reports whether the keystore has any keyset.
func hasKeysets(ctx context.Context, store keystore.Store) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for document, err := range keystore.All(ctx, store, keystore.Keysets) {
		if document.Err != nil {
			return true, nil // there was a keyset
		}
		return err == nil, err
	}
	return false, nil
}
