package main

import (
	"context"
	"os"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/format"
)

type keysRequest struct {
	Environment string
	Owner       string
	Password    string // or a master key
	KEK         string // URL of the KEK under which the tenant's keys are kept
}

// keysAnswer is a document that was made for a browser and one that a tenant shared with it.
type keysAnswer struct {
	Made   []byte `json:"made"`
	Shared []byte `json:"shared"`
}

func keys() (any, error) {
	in, err := request[keysRequest]()
	if err != nil {
		return nil, err
	}
	var all []format.Use
	for use := format.UseStorage; use <= format.NumUses; use++ {
		all = append(all, use)
	}
	made, err := keyring.NewVaultDocument(in.Environment, in.Owner, vaultSecret(in.Password), all...)
	if err != nil {
		return nil, err
	}
	shared, err := share(in)
	return keysAnswer{made, shared}, err
}

// share makes a tenant's keyset in a directory and shares it.
func share(in keysRequest) ([]byte, error) {
	dir, err := os.MkdirTemp("", "coffer-interop-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	kek, err := kms.Open(ctx, in.KEK)
	if err != nil {
		return nil, err
	}
	ring, err := keyring.Open(dir, kek, in.Environment)
	if err != nil {
		return nil, err
	}
	tenant, err := ring.Tenant(ctx, in.Owner)
	if err != nil {
		return nil, err
	}
	return tenant.ExportKeyset(ctx, vaultSecret(in.Password))
}

// vaultSecret returns the secret that a test sent: the base64 of a master key, or a password.
func vaultSecret(text string) keyring.Secret {
	if key, err := seal.ParseMasterKey(text); err == nil {
		return keyring.MasterKey(key)
	}
	return keyring.Password(text)
}
