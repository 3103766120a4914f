// Package envelope decides: which key seals, whether a package may be opened, when a salt is used up, what a
// keyset may become.
//
// It is pure. There is no I/O here, no clock, no randomness and no cryptographic primitive: a shell
// (WebCrypto in the browser, crypto/cipher on the server) carries out what is decided here, so both sides
// decide alike. What it guarantees is that a key seals and opens packages of its own use and class only, that
// key states only advance, and that every document it writes it can read back, with one encoding per
// document.
//
// The hierarchy: a slot's key wraps a root, the root wraps data keys (DEKs), DEKs seal data. A [Document]
// holds all of one owner's wrapped keys. It contains no usable key and is safe at rest; only its slots'
// secrets open it.
package envelope

import "github.com/coffer-storage/coffer/shared/codes"

var (
	// ErrMalformed is every way in which bytes from outside fail to be a keyset document.
	ErrMalformed = &codes.Error{Of: "malformed", Text: "malformed keyset document"}
	// ErrUnsupportedVersion says that a keyset document is of another version.
	ErrUnsupportedVersion = &codes.Error{Of: "unsupported_version", Text: "keyset document of an unsupported version: update Coffer to read it"}
	// ErrTooLarge says that a document is over MaxDocument.
	ErrTooLarge = &codes.Error{Of: "too_large", Text: "keyset document over its limit"}
	// ErrInvalid says that a key, slot or change is not one that a document may hold.
	ErrInvalid = &codes.Error{Of: "invalid_argument", Text: "not a valid change of a keyset document"}
	// ErrWrongSecret says that a secret is not the one that a slot or package was made with: its commitment differs.
	ErrWrongSecret = &codes.Error{Of: "wrong_secret", Text: "wrong password, master key or slot secret"}
	// ErrUnknownKey says that a package was sealed under a key which the keyset lacks.
	ErrUnknownKey = &codes.Error{Of: "unknown_key", Text: "sealed under a key that this keyset does not have"}
	// ErrKeyDestroyed says that the key which sealed a package was destroyed.
	ErrKeyDestroyed = &codes.Error{Of: "key_destroyed", Text: "the key that sealed this was destroyed"}
	// ErrKeyUnusable says that a key is disabled, or that there is no primary to seal with.
	ErrKeyUnusable = &codes.Error{Of: "key_unusable", Text: "the key is disabled, or there is no primary key for this use and class"}
	// ErrAuthentication says that a package was altered, moved or forged.
	ErrAuthentication = &codes.Error{Of: "authentication_failed", Text: "authentication failed: the package was altered, moved or forged"}
)
