package keyring_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// A master key for examples only. Make your own with "openssl rand -base64 32", or use the URL of a KMS's key.
const exampleKEK = "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// Open a keyring in a directory, and use a tenant's keys. They are made at first use.
func ExampleOpen() {
	ctx := context.Background()
	kek, err := kms.Open(ctx, exampleKEK)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "keys-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	keys, err := keyring.Open(dir, kek, "dev")
	if err != nil {
		log.Fatal(err)
	}
	defer keys.Close()

	clinic, err := keys.Tenant(ctx, "clinic-7")
	if err != nil {
		log.Fatal(err)
	}
	service := seal.NewKeysetService(clinic)
	pkg, err := service.Encrypt(ctx, []byte("Ada"), classify.PHI, nil)
	if err != nil {
		log.Fatal(err)
	}
	opened, err := service.Decrypt(ctx, pkg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Value)
	// Output: Ada
}

// Rotate the keys of a tenant. New packages are sealed under the new primary; former packages still open.
func ExampleTenant_Rotate() {
	ctx := context.Background()
	keys, remove := openExample(ctx)
	defer remove()
	clinic, err := keys.Tenant(ctx, "clinic-7")
	if err != nil {
		log.Fatal(err)
	}
	service := seal.NewKeysetService(clinic)
	before, err := service.Encrypt(ctx, []byte("sealed before"), classify.PHI, nil)
	if err != nil {
		log.Fatal(err)
	}
	former, err := clinic.Primary(ctx, format.UseService, classify.PHI)
	if err != nil {
		log.Fatal(err)
	}

	primary, err := clinic.Rotate(ctx, format.UseService, classify.PHI, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("new primary:", primary != former)
	opened, err := service.Decrypt(ctx, before)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Value)
	// Output:
	// new primary: true
	// sealed before
}

// Back up the wrapped keys of all tenants, lose the store, and restore the backup into an empty one.
func ExampleKeyring_Backup() {
	ctx := context.Background()
	keys, remove := openExample(ctx)
	clinic, err := keys.Tenant(ctx, "clinic-7")
	if err != nil {
		log.Fatal(err)
	}
	pkg, err := seal.NewKeysetService(clinic).Encrypt(ctx, []byte("Ada"), classify.PHI, nil)
	if err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer // or an os.File
	tenants, err := keys.Backup(ctx, &file, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("tenants:", tenants)
	remove()

	empty, remove := openExample(ctx)
	defer remove()
	backup, err := empty.OpenBackup(ctx, bytes.NewReader(file.Bytes()))
	if err != nil {
		log.Fatal(err)
	}
	for document, err := range backup.Documents() {
		if err != nil {
			log.Fatal(err)
		}
		if _, _, err := empty.RestoreDocument(ctx, document, keyring.Tombstones{}); err != nil {
			log.Fatal(err)
		}
	}
	if clinic, err = empty.Tenant(ctx, "clinic-7"); err != nil {
		log.Fatal(err)
	}
	opened, err := seal.NewKeysetService(clinic).Decrypt(ctx, pkg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Value)
	// Output:
	// tenants: 1
	// Ada
}

// Export a tenant's keys of one use for another program, which opens them with a password.
func ExampleTenant_ExportKeyset() {
	ctx := context.Background()
	keys, remove := openExample(ctx)
	defer remove()
	clinic, err := keys.Tenant(ctx, "clinic-7")
	if err != nil {
		log.Fatal(err)
	}
	document, err := clinic.ExportKeyset(ctx, keyring.Password("correct horse battery staple"), format.UseService)
	if err != nil {
		log.Fatal(err)
	}
	pkg, err := seal.NewKeysetService(clinic).Encrypt(ctx, []byte("Ada"), classify.PHI, nil)
	if err != nil {
		log.Fatal(err)
	}

	vault, err := keyring.OpenVault(document, keyring.Password("correct horse battery staple"))
	if err != nil {
		log.Fatal(err)
	}
	opened, err := seal.NewKeysetService(vault).Decrypt(ctx, pkg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Value)
	// Output: Ada
}

// openExample opens a keyring in a new directory. remove closes it and removes the directory.
func openExample(ctx context.Context) (keys *keyring.Keyring, remove func()) {
	kek, err := kms.Open(ctx, exampleKEK)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "keys-")
	if err != nil {
		log.Fatal(err)
	}
	if keys, err = keyring.Open(dir, kek, "dev"); err != nil {
		log.Fatal(err)
	}
	return keys, func() {
		keys.Close()
		os.RemoveAll(dir)
	}
}
