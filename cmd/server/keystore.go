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

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// openKeystore opens where keysets are kept, and names it for people. The caller calls close at the end.
func openKeystore(ctx context.Context, c *config.Config, log *slog.Logger) (store keystore.Store, where string, close func() error, err error) {
	if c.Keys.Redis == "" {
		where = keysDir(c)
		// Nothing is made where they are to be put back. The audit log is made after the directory.
		if _, err := os.Stat(where); errors.Is(err, fs.ErrNotExist) && (wasUsed(c) || there(auditPath(c))) {
			return nil, "", nil, missingKeys(c, where)
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
	ctx, cancel := context.WithTimeout(ctx, firstPing)
	defer cancel()
	switch err := redis.CheckDurable(ctx); {
	case errors.Is(err, rediskv.ErrNotDurable):
		return nil, "", nil, errors.Join(fmt.Errorf("COFFER_KEYS_REDIS_URL: %s", strings.TrimPrefix(err.Error(), "rediskv: ")), redis.Close())
	case err != nil:
		log.Warn("whether the Redis of the keysets keeps what it is given cannot be told: it needs appendonly yes, appendfsync always and "+
			"maxmemory-policy noeviction", "error", err)
	}
	return rediskeys.New(redis.Client()), "the Redis of COFFER_KEYS_REDIS_URL", redis.Close, nil
}

// keysDir is where keysets are without a Redis for them.
func keysDir(c *config.Config) string { return filepath.Join(c.Data, "keys") }

// markPath is of the file that says that servers of this data directory once had keysets, wherever these and
// the cache are.
func markPath(c *config.Config) string { return filepath.Join(c.Data, "keys.made") }

const mark = "There were keysets. While this file is here, servers do not start where there are none, since new ones would open nothing.\n"

// markUsed leaves the mark.
func markUsed(c *config.Config) error {
	return leaveMark(markPath(c), mark)
}

// leaveMark makes a file that says what there was, for its being gone to be noticed.
func leaveMark(path, text string) error {
	if there(path) {
		return nil
	}
	if err := durable.Create(path, []byte(text)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the data directory cannot be written: %w", err)
	}
	return nil
}

// wasUsed reports whether there were keysets: by the mark, or an embedded cache.
func wasUsed(c *config.Config) bool { return there(markPath(c)) || there(cacheDir(c)) }

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// missingKeys says what is to be done, and what is in the way of who wants to begin anew.
func missingKeys(c *config.Config, where string) error {
	var left []string
	for _, path := range []string{cacheDir(c), markPath(c), auditPath(c), auditMarkPath(c)} {
		if there(path) {
			left = append(left, path)
		}
	}
	return refuse(fmt.Errorf("the keys that this data directory was used with are missing from %s: restore them; to begin anew, where nothing that is under them is needed any more, "+
		"remove %s", where, strings.Join(left, " and ")))
}

// holdsKeys reports whether there is any keyset.
func holdsKeys(ctx context.Context, store keystore.Store) (bool, error) {
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
