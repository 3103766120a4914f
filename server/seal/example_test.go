package seal_test

import (
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

func ExampleService() {
	// 32 random bytes in base64, from a secret manager: openssl rand -base64 32
	masterKey, err := seal.ParseMasterKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		panic(err)
	}
	service, err := seal.NewService(masterKey)
	if err != nil {
		panic(err)
	}
	ciphertext, metadata, err := service.EncryptString("123-45-6789", classify.PII, map[string]string{"user_id": "user_123"})
	if err != nil {
		panic(err)
	}
	plaintext, err := service.DecryptString(ciphertext, metadata)
	fmt.Println(plaintext, err)

	metadata.Context["user_id"] = "user_124" // the context is authenticated
	_, err = service.DecryptString(ciphertext, metadata)
	fmt.Println(errors.Is(err, envelope.ErrAuthentication))
	// Output:
	// 123-45-6789 <nil>
	// true
}
