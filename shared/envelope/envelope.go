// Package envelope manages keyset documents and plans how to seal and open packages: which key seals, whether a
// package may be opened, when a writer needs a new salt, and how a document may change. SPEC.md in this folder is
// normative.
//
// The package has no I/O, clock, randomness or cryptographic primitive. Its callers, WebCrypto in the browser and
// crypto/cipher on the server, carry out its decisions, so both sides decide in the same way. It guarantees that a
// key seals and opens packages of its own use and class only, that key states only advance, and that every document
// has exactly one encoding, which ParseDocument accepts.
//
// Keys form a hierarchy: the key of a slot wraps a root, the root wraps data keys (DEKs), and DEKs seal data. A
// [Document] holds all wrapped keys of one owner. It contains no usable key, so it can be stored as it is; only the
// secrets of its slots open it.
package envelope

import "github.com/coffer-storage/coffer/shared/codes"

// Sentinel errors (SPEC.md section 11).
var (
	// ErrMalformed means that the bytes are not a keyset document, slot or backup.
	ErrMalformed = &codes.Error{ErrorCode: "malformed", Message: "malformed keyset document"}
	// ErrUnsupportedVersion means that a keyset document or backup is of another version.
	ErrUnsupportedVersion = &codes.Error{ErrorCode: "unsupported_version", Message: "keyset document of an unsupported version: update Coffer to read it"}
	// ErrTooLarge means that a document exceeds MaxDocument or one of its limits.
	ErrTooLarge = &codes.Error{ErrorCode: "too_large", Message: "keyset document exceeds its limit"}
	// ErrInvalid means that a change would break a rule of SPEC.md section 3.
	ErrInvalid = &codes.Error{ErrorCode: "invalid_argument", Message: "invalid change of a keyset document"}
	// ErrWrongSecret means that the secret is not that of the slot or package: the key ids differ.
	ErrWrongSecret = &codes.Error{ErrorCode: "wrong_secret", Message: "wrong password, master key or slot secret"}
	// ErrUnknownKey means that the keyset does not contain the key that sealed a package.
	ErrUnknownKey = &codes.Error{ErrorCode: "unknown_key", Message: "sealed under a key that this keyset does not have"}
	// ErrKeyDestroyed means that the key that sealed a package was destroyed.
	ErrKeyDestroyed = &codes.Error{ErrorCode: "key_destroyed", Message: "the key that sealed this was destroyed"}
	// ErrKeyUnusable means that a key is disabled, or that the use and class have no enabled primary.
	ErrKeyUnusable = &codes.Error{ErrorCode: "key_unusable", Message: "the key is disabled, or there is no primary key for this use and class"}
	// ErrAuthentication means that a package or document was altered, moved or forged.
	ErrAuthentication = &codes.Error{ErrorCode: "authentication_failed", Message: "authentication failed: the package was altered, moved or forged"}
)
