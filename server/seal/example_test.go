package seal_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// A program stores the ciphertext and the metadata of a value together, such as in two columns of a table.
func ExampleService() {
	ctx := context.Background()
	masterKey, err := seal.ParseMasterKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=") // make yours with: openssl rand -base64 32
	if err != nil {
		log.Fatal(err)
	}
	service, err := seal.NewService(masterKey)
	if err != nil {
		log.Fatal(err)
	}
	ciphertext, metadata, err := service.EncryptString(ctx, "123-45-6789", classify.PII, map[string]string{"user_id": "user_123"})
	if err != nil {
		log.Fatal(err)
	}
	plaintext, err := service.DecryptString(ctx, ciphertext, metadata)
	fmt.Println(plaintext, err)

	metadata.Context["user_id"] = "user_124" // the context is authenticated
	_, err = service.DecryptString(ctx, ciphertext, metadata)
	fmt.Println(errors.Is(err, envelope.ErrAuthentication))
	// Output:
	// 123-45-6789 <nil>
	// true
}

// A passphrase is stretched by PBKDF2, and is never taken for a master key.
func ExampleNewPassphraseService() {
	ctx := context.Background()
	service, err := seal.NewPassphraseService("correct horse battery staple")
	if err != nil {
		log.Fatal(err)
	}
	pkg, err := service.Encrypt(ctx, []byte("a note"), classify.Confidential, nil)
	if err != nil {
		log.Fatal(err)
	}
	opened, err := service.Decrypt(ctx, pkg)
	fmt.Printf("%s %v\n", opened.Value, err)

	_, err = service.Decrypt(ctx, pkg, seal.MinClass(classify.PHI))
	fmt.Println(errors.Is(err, classify.ErrTooLow))

	_, err = seal.NewService([]byte("correct horse battery staple"))
	fmt.Println(errors.Is(err, seal.ErrMasterKey))
	// Output:
	// a note <nil>
	// true
	// true
}
