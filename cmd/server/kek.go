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

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kms/awskms"
	"github.com/coffer-storage/coffer/server/kms/azurekeyvault"
	"github.com/coffer-storage/coffer/server/kms/gcpkms"
	"github.com/coffer-storage/coffer/server/kms/hashivault"
)

// providers returns the supported KMSs with the configured credentials.
func providers(c *config.Config) []kms.Provider {
	return []kms.Provider{
		hashivault.Provider(hashivault.Settings{Address: string(c.KMS.Vault.Address), Token: string(c.KMS.Vault.Token), TokenFile: c.KMS.Vault.TokenFile}),
		awskms.Provider(awskms.Settings{
			AccessKeyID: string(c.KMS.AWS.AccessKeyID), SecretAccessKey: string(c.KMS.AWS.SecretAccessKey), SessionToken: string(c.KMS.AWS.SessionToken),
		}),
		azurekeyvault.Provider(azurekeyvault.Settings{
			TenantID: string(c.KMS.Azure.TenantID), ClientID: string(c.KMS.Azure.ClientID), ClientSecret: string(c.KMS.Azure.ClientSecret),
		}),
		gcpkms.Provider(gcpkms.Settings{CredentialsFile: c.KMS.Google.Credentials}),
	}
}

// openKEKs opens the configured KEKs: one for all classes, and those of classes with their own master key.
func openKEKs(ctx context.Context, c *config.Config, k *keys, log *slog.Logger) (keks kms.Set, err error) {
	if c.Local() {
		log.Warn("THE KEK IS LOCAL, which is for development only: anyone who reads this host's files or environment can read all data; " +
			"set KMS_PROVIDER to aws, azure, gcp or vault")
	}
	general, err := openKEK(ctx, c, k, log)
	if err != nil {
		return keks, err
	}
	keks = kms.NewSet(general)
	for class, master := range c.KMS.Classes {
		kek, err := openMasterKey(&master, c.KDFIterations)
		if err != nil {
			return keks, err
		}
		keks = keks.With(class, kek)
	}
	return keks, nil
}

// openKEK opens the KEK of all classes: a key in a KMS, the configured master key, or the one in the data directory.
func openKEK(ctx context.Context, c *config.Config, k *keys, log *slog.Logger) (kms.KEK, error) {
	switch {
	case c.KMS.KEK != "":
		kek, err := kms.Open(ctx, string(c.KMS.KEK), providers(c)...)
		if err != nil {
			return nil, fmt.Errorf("COFFER_KEK or KMS_PROVIDER: %w", err)
		}
		return kek, nil
	case c.MasterKey.Configured():
		master, err := c.MasterKey.Read(ctx)
		if err != nil {
			return nil, err
		}
		return openMasterKey(&master, c.KDFIterations)
	}
	return openMasterKeyFile(ctx, c, k, log)
}

// openMasterKey opens the local KEK of a key or a passphrase.
func openMasterKey(master *config.MasterKey, iterations uint32) (kms.KEK, error) {
	if master.Passphrase != "" {
		return kms.NewPassphrase(string(master.Passphrase), iterations)
	}
	return kms.NewLocal([]byte(master.Key))
}

// openMasterKeyFile opens the master key in the data directory. It creates one if the keystore is empty.
func openMasterKeyFile(ctx context.Context, c *config.Config, k *keys, log *slog.Logger) (kms.KEK, error) {
	path := filepath.Join(c.Data, "master.key")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		held, err := hasKeysets(ctx, k.store)
		if err != nil {
			return nil, err
		}
		if held {
			return nil, refusedError(fmt.Errorf("the keys in %s were made with a master key that is not in %s: set ENCRYPTION_MASTER_KEY or ENCRYPTION_PASSPHRASE to it, or "+
				"KMS_PROVIDER to the KMS that wraps them", k.location, path))
		}
		if err := kms.CreateFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	log.Warn("the master key is in the data directory, beside the data: set ENCRYPTION_MASTER_KEY", "file", path)
	return kms.OpenFile(path)
}

// openFlagKEK opens a KEK that a flag names. No error quotes the URL: it may be a key.
func openFlagKEK(ctx context.Context, c *config.Config, flag, url string) (kms.KEK, error) {
	if strings.HasPrefix(url, "base64key:") {
		return nil, usageError(fmt.Errorf("%s must not be a key, because every user can read a command line: put the key into a file of mode 0600 and give file:///PATH", flag))
	}
	err := c.KMS.Check(url)
	var kek kms.KEK
	if err == nil {
		kek, err = kms.Open(ctx, url, providers(c)...)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return kek, nil
}

// requireLocalKey returns an error if opening the KEKs would create a master key.
func requireLocalKey(c *config.Config) error {
	master := filepath.Join(c.Data, "master.key")
	if _, err := os.Stat(master); c.KMS.KEK == "" && !c.MasterKey.Configured() && errors.Is(err, fs.ErrNotExist) {
		return usageError(fmt.Errorf("no master key is configured, and %s does not exist: set ENCRYPTION_MASTER_KEY, ENCRYPTION_PASSPHRASE or KMS_PROVIDER", master))
	}
	return nil
}

// openExistingKEKs opens the KEKs. It never creates a master key.
func openExistingKEKs(ctx context.Context, c *config.Config) (kms.Set, error) {
	if path := filepath.Join(c.Data, "master.key"); c.KMS.KEK == "" && !c.MasterKey.Configured() {
		if _, err := os.Stat(path); err != nil {
			return kms.Set{}, usageError(fmt.Errorf("no KEK is configured, and %s does not exist: set KMS_PROVIDER, COFFER_KEK, ENCRYPTION_MASTER_KEY or ENCRYPTION_PASSPHRASE", path))
		}
	}
	return openKEKs(ctx, c, nil, slog.New(slog.DiscardHandler))
}
