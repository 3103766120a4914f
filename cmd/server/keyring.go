package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// keys is the keyring with what it is made of.
type keys struct {
	ring       *keyring.Keyring
	keks       kms.Set
	store      keystore.Store
	location   string          // of the store, for people
	system     *keyring.System // nil until it was opened
	losses     *lossRecorder
	closeStore func() error
}

// openKeys opens the keyring. Calls of the configured KEKs go through watch, which can be nil; the former ones open
// keysets, too.
func openKeys(ctx context.Context, c *config.Config, watch func(kms.KEK) kms.KEK, log *slog.Logger, former ...kms.KEK) (k *keys, err error) {
	k = &keys{losses: newLossRecorder(log)}
	if k.store, k.location, k.closeStore, err = openKeystore(ctx, c, log); err != nil {
		return nil, err
	}
	if k.keks, err = openKEKs(ctx, c, k, log); err != nil {
		return nil, errors.Join(err, k.closeStore())
	}
	if watch != nil {
		k.keks = k.keks.Map(watch)
	}
	for _, kek := range former {
		k.keks = k.keks.And(kek)
	}
	k.ring, err = keyring.New(k.store, k.keks, c.Environment, keyring.WithTTL(c.Keys.TTL), keyring.WithMaxUses(int64(c.Keys.Uses)),
		keyring.WithMaxTenants(c.Keys.Tenants), keyring.WithConcurrentUnlocks(c.Keys.Calls), keyring.WithDueTime(rotation.DueTime(c.Keys.RotateAge, time.Now)),
		keyring.WithIncidentHandler(k.losses.add))
	if err != nil {
		return nil, errors.Join(err, k.closeStore())
	}
	return k, nil
}

func (k *keys) close() error {
	k.ring.Close()
	return k.closeStore()
}

// unlock unlocks the default tenant's keys. It ends the start where they do not open, or are gone: a server
// that cannot read what it keeps must not begin to write.
func (k *keys) unlock(ctx context.Context, c *config.Config) error {
	if hadKeysets(c) {
		held, err := hasKeysets(ctx, k.store)
		if err != nil {
			return err
		}
		if !held {
			return missingKeysError(c, k.location)
		}
	}
	var err error
	if k.system, err = k.openSystem(ctx, c); err != nil { // first: nothing is made if the log's key is missing
		return err
	}
	if err := k.open(ctx, c, identity.DefaultTenant); err != nil {
		return err
	}
	if _, err := k.system.Key(ctx, envelope.UseShreds); err != nil { // so that a tenant can be shredded while the KMS is out of reach
		return err
	}
	return createKeysetMark(c)
}

// open unlocks a tenant's keys, and says what to configure where they do not open.
func (k *keys) open(ctx context.Context, c *config.Config, tenant string) error {
	_, err := k.ring.Tenant(ctx, tenant)
	return k.explain(err, c)
}

// system returns the environment's own keys. It makes them only in an empty keystore: otherwise the audit log, of this host or
// another one, is under earlier ones, and system returns errLogKey or errSystem.
func (k *keys) openSystem(ctx context.Context, c *config.Config) (*keyring.System, error) {
	used, err := audit.Exists(auditPath(c))
	if err != nil {
		return nil, err
	}
	system, err := k.ring.FindSystem(ctx)
	if system == nil && err == nil {
		var held bool
		switch held, err = hasKeysets(ctx, k.store); {
		case err != nil:
		case used:
			err = fmt.Errorf("%s: %w", auditPath(c), errAuditKeyMissing)
		case !held:
			system, err = k.ring.System(ctx)
		default: // another process may have made all of them since
			if system, err = k.ring.FindSystem(ctx); system == nil && err == nil {
				err = fmt.Errorf("%s: %w", k.location, errSystemKeysMissing)
			}
		}
	}
	return system, k.explain(err, c)
}

// explain says what to configure if keys do not open.
func (k *keys) explain(err error, c *config.Config) error {
	switch {
	case errors.Is(err, envelope.ErrWrongSecret) && c.KMS.KEK != "":
		return fmt.Errorf("the keys in %s were made under another KEK than the configured one: set COFFER_KEK or KMS_PROVIDER to that, or have "+
			"`coffer keys rewrap` move them: %w", k.location, err)
	case errors.Is(err, envelope.ErrWrongSecret) && c.MasterKey.IsPassphrase():
		return refusedError(fmt.Errorf("ENCRYPTION_PASSPHRASE is not the passphrase that the keys in %s were made with", k.location))
	case errors.Is(err, envelope.ErrWrongSecret) && c.MasterKey.Configured():
		return refusedError(fmt.Errorf("ENCRYPTION_MASTER_KEY is not the key that the keys in %s were made with", k.location))
	case errors.Is(err, envelope.ErrWrongSecret):
		return refusedError(fmt.Errorf("the keys in %s were made with another master key: set ENCRYPTION_MASTER_KEY or ENCRYPTION_PASSPHRASE to it", k.location))
	case errors.Is(err, keyring.ErrWrongEnvironment):
		return refusedError(fmt.Errorf("COFFER_ENVIRONMENT is not the environment that the keys in %s were made in", k.location))
	}
	return err
}

// requireKeysets refuses a label under which there is no keyset where there are keysets of others, or once
// were any: a command would find nothing to do, and say that all is done.
func (k *keys) requireKeysets(ctx context.Context, c *config.Config) error {
	others := map[string]bool{}
	for document, err := range keystore.All(ctx, k.store, keystore.Keysets) {
		if err != nil && document.Err == nil {
			return err
		}
		d, err := envelope.ParseDocument(document.Content)
		switch {
		case err != nil: // commands that work on the keysets name the damage
			return nil
		case d.Environment == c.Environment:
			return nil
		}
		others[strconv.Quote(d.Environment)] = true
	}
	switch {
	case len(others) == 0 && hadKeysets(c):
		return missingKeysError(c, k.location)
	case len(others) == 0:
		return nil
	}
	return refusedError(fmt.Errorf("the keys in %s are of environment %s and none is of %q: set COFFER_ENVIRONMENT or --environment to the label of the servers",
		k.location, strings.Join(slices.Sorted(maps.Keys(others)), ", "), c.Environment))
}

// ready reports whether the keystore can be read, no keyset is missing that the server has in memory, and keys can be used. It
// unlocks the default tenant if its keys were dropped, and has its keyset written back if that vanished.
func (k *keys) ready(ctx context.Context) error {
	if err := k.ring.CheckMissing(); err != nil {
		return err
	}
	content, err := k.store.Get(ctx, keystore.Keysets, identity.DefaultTenant)
	if err != nil {
		return err
	}
	tenant, err := k.ring.Tenant(ctx, identity.DefaultTenant)
	if err == nil && content == nil {
		err = tenant.Reload(ctx)
	}
	return err
}

// keysFailing reports whether the KEKs' last call failed, though keys may still be in memory.
func keysFailing(ring *keyring.Keyring) func(context.Context) error {
	return func(context.Context) error {
		_, err := ring.KEKHealth()
		return err
	}
}
