package kms_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// A local KEK suits development. In production, pass a provider such as awskms.Provider, and the URL of a key in that
// KMS.
func ExampleOpen() {
	ctx := context.Background()
	kek, err := kms.Open(ctx, "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		log.Fatal(err)
	}
	wrapped, err := kek.Wrap(ctx, []byte("a data key"), []byte("tenant 1"))
	if err != nil {
		log.Fatal(err)
	}
	key, err := kek.Unwrap(ctx, wrapped, []byte("tenant 1"))
	fmt.Printf("%s %v\n", key, err)

	_, err = kek.Unwrap(ctx, wrapped, []byte("tenant 2"))
	fmt.Println(errors.Is(err, envelope.ErrAuthentication))
	// Output:
	// a data key <nil>
	// true
}
