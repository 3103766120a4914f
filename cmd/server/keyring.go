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

// keys is the keyring, with the KEKs and the keystore under it.
type keys struct {
	ring       *keyring.Keyring
	keks       kms.Set
	store      keystore.Store
	location   string          // of the keystore, for messages
	system     *keyring.System // the environment's own keys; nil until they are opened
	losses     *lossRecorder
	closeStore func() error
}

// openKeys opens the keyring. If watch is not nil, calls of the configured KEKs go through it. The former KEKs open keysets too. The
// caller closes the keys.
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
		k.keks = k.keks.WithFormer(kek)
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

// unlock unlocks the default tenant's keys. It fails if they do not open or are missing: a server that cannot read its data must not write.
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
	if k.system, err = k.openSystem(ctx, c); err != nil { // first: no keys are created if the audit log's key is missing
		return err
	}
	if err := k.open(ctx, c, identity.DefaultTenant); err != nil {
		return err
	}
	if _, err := k.system.Key(ctx, envelope.UseShreds); err != nil { // in memory, so that a tenant can be shredded while the KMS cannot be reached
		return err
	}
	return createKeysetMark(c)
}

// open unlocks a tenant's keys. Its error names the setting to change.
func (k *keys) open(ctx context.Context, c *config.Config, tenant string) error {
	_, err := k.ring.Tenant(ctx, tenant)
	return k.explain(err, c)
}

// openSystem returns the environment's own keys. It creates them only in an empty keystore. In any other keystore, the audit log of this or
// another host needs the former ones, and openSystem returns errAuditKeyMissing or errSystemKeysMissing.
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
		default: // another process may have created all keysets in the meantime
			if system, err = k.ring.FindSystem(ctx); system == nil && err == nil {
				err = fmt.Errorf("%s: %w", k.location, errSystemKeysMissing)
			}
		}
	}
	return system, k.explain(err, c)
}

// explain adds what to configure to the error of keys that do not open.
func (k *keys) explain(err error, c *config.Config) error {
	switch {
	case errors.Is(err, envelope.ErrWrongSecret) && c.KMS.KEK != "":
		return fmt.Errorf("the keys in %s were made under another KEK than the configured one: set COFFER_KEK or KMS_PROVIDER to that KEK, or move them with "+
			"`coffer keys rewrap`: %w", k.location, err)
	case errors.Is(err, envelope.ErrWrongSecret) && c.MasterKey.IsPassphrase():
		return refusedError(fmt.Errorf("ENCRYPTION_PASSPHRASE is not the passphrase that the keys in %s were made with", k.location))
	case errors.Is(err, envelope.ErrWrongSecret) && c.MasterKey.Configured():
		return refusedError(fmt.Errorf("ENCRYPTION_MASTER_KEY is not the key that the keys in %s were made with: set the former key, or rewrap with it", k.location))
	case errors.Is(err, envelope.ErrWrongSecret):
		return refusedError(fmt.Errorf("the keys in %s were made with another master key: set ENCRYPTION_MASTER_KEY or ENCRYPTION_PASSPHRASE to it", k.location))
	case errors.Is(err, keyring.ErrWrongEnvironment):
		return refusedError(fmt.Errorf("COFFER_ENVIRONMENT is not the environment that the keys in %s were made in", k.location))
	}
	return err
}

// requireKeysets returns an error if the configured environment has no keyset, and other environments have some or the data directory had
// some: a command would find nothing to do, and report success.
func (k *keys) requireKeysets(ctx context.Context, c *config.Config) error {
	others := map[string]bool{}
	for document, err := range keystore.All(ctx, k.store, keystore.Keysets) {
		if err != nil && document.Err == nil {
			return err
		}
		d, err := envelope.ParseDocument(document.Content)
		switch {
		case err != nil: // the command reports the damage
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
	return refusedError(fmt.Errorf("the keys in %s belong to environment %s, and none to %q: set COFFER_ENVIRONMENT or --environment to the label of the servers",
		k.location, strings.Join(slices.Sorted(maps.Keys(others)), ", "), c.Environment))
}

// ready returns an error if the keystore cannot be read, lacks a keyset that is in memory, or the default tenant's keys cannot be used. It
// unlocks that tenant if its keys were dropped, and writes its keyset back if the keystore lost it.
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

// checkKEKs returns the error of the last call of the KEKs. Keys in memory work all the same.
func (k *keys) checkKEKs(context.Context) error {
	_, err := k.ring.KEKHealth()
	return err
}
