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

	"github.com/coffer-storage/coffer/server/config"
	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/metrics"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// openKeys opens the keyring and unlocks the default tenant's keys. It ends the start where they do not open, or are gone: a
// server that cannot read what it keeps must not begin to write.
func openKeys(ctx context.Context, c *config.Config, m *metrics.Metrics, log *slog.Logger) (*keyring.Keyring, *keyring.Tenant, error) {
	dir := filepath.Join(c.Data, "keys")
	if _, err := os.Stat(cacheDir(c)); err == nil && !holdsKeys(dir) {
		return nil, nil, fmt.Errorf("the keys that %s was written with are missing from %s: restore them, or remove the cache", cacheDir(c), dir)
	}
	kek, err := openKEK(c, dir, log)
	if err != nil {
		return nil, nil, err
	}
	ring, err := keyring.Open(dir, m.WatchKMS(kek), c.Environment)
	if err != nil {
		return nil, nil, err
	}
	tenant, err := ring.Tenant(ctx, identity.DefaultTenant)
	switch {
	case errors.Is(err, envelope.ErrWrongSecret) && c.MasterKey != "":
		return nil, nil, fmt.Errorf("ENCRYPTION_MASTER_KEY is not the key that the keys in %s were made with", dir)
	case errors.Is(err, envelope.ErrWrongSecret):
		return nil, nil, fmt.Errorf("the keys in %s were made with another master key: set ENCRYPTION_MASTER_KEY to it", dir)
	case errors.Is(err, keyring.ErrEnvironment):
		return nil, nil, fmt.Errorf("COFFER_ENVIRONMENT is not the environment that the keys in %s were made in", dir)
	case err != nil:
		return nil, nil, err
	}
	return ring, tenant, nil
}

// openKEK opens the configured master key, or one in the data directory, which it makes where there are no keys yet.
func openKEK(c *config.Config, keys string, log *slog.Logger) (kms.KEK, error) {
	if c.MasterKey != "" {
		return kms.FromMasterKey(string(c.MasterKey), c.KDFIterations)
	}
	path := filepath.Join(c.Data, "master.key")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if holdsKeys(keys) {
			return nil, fmt.Errorf("the keys in %s were made with a master key that is not in %s: set ENCRYPTION_MASTER_KEY to it", keys, path)
		}
		if err := kms.CreateFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	log.Warn("the master key lies beside the data, which is for development only: set ENCRYPTION_MASTER_KEY", "file", path)
	return kms.OpenFile(path)
}

// holdsKeys reports whether a keyring's directory has keysets.
func holdsKeys(dir string) bool {
	entries, _ := os.ReadDir(filepath.Join(dir, string(keystore.Keysets))) // none there, none unreadable: the keyring says which
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			return true
		}
	}
	return false
}

// keysReady reports whether values of the most sensitive class can be sealed now.
func keysReady(tenant *keyring.Tenant) func(context.Context) error {
	return func(context.Context) error {
		_, err := tenant.Primary(format.UseCache, classify.PHI)
		return err
	}
}
