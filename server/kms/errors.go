package kms

import (
	"errors"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// The errors of KEKs. They are wrapped with the URL of the KEK and what to check.
var (
	// ErrURL means that the URL of a KEK, or the key file that it names, is invalid.
	ErrURL = &codes.Error{ErrorCode: "invalid_argument", Message: "the URL of the key encryption key is not valid"}
	// ErrSettings means that the settings of a KMS are invalid: credentials are missing or malformed, or would be sent
	// in the clear.
	ErrSettings = &codes.Error{ErrorCode: "invalid_argument", Message: "the settings of the KMS are not valid"}
	// ErrWrongKey means that another KEK wrapped the key.
	ErrWrongKey = envelope.ErrWrongSecret
	// ErrUnavailable means that the KMS cannot be reached, or fails.
	ErrUnavailable = &codes.Error{ErrorCode: "keyring_unavailable", Message: "the key encryption key cannot be used now"}
	// ErrDenied means that the KMS refuses the credentials, or that they do not permit to use the key.
	ErrDenied = &codes.Error{ErrorCode: "kms_denied", Message: "KMS authentication failed"}
	// ErrThrottled means that the KMS refuses calls because there were too many.
	ErrThrottled = &codes.Error{ErrorCode: "kms_throttled", Message: "the KMS refuses more calls for now"}
	// ErrTimeout means that the KMS did not answer in time.
	ErrTimeout = &codes.Error{ErrorCode: "timeout", Message: "the KMS did not answer in time"}
	// ErrKeyGone means that the KMS has no such key, or that the key is disabled, deleted or scheduled for deletion.
	ErrKeyGone = &codes.Error{ErrorCode: "kms_key_unusable", Message: "the KMS has no such key, or it is disabled or deleted"}
	// ErrRecreated means that the name of the KEK now belongs to another key than the one that wrapped.
	ErrRecreated = &codes.Error{ErrorCode: "kms_key_unusable", Message: "the KMS key is not the one that wrapped the keys: it was created again under the same " +
		"name, or the name was given to another key; restore the former key, or restore a backup of the keysets"}
	// ErrCheckFailed means that Check found a KEK that does not do what it must. Do not use it.
	ErrCheckFailed = &codes.Error{ErrorCode: "kms_key_unusable", Message: "the KMS did not return the key that it had wrapped, or returned it for another tenant; do not use this KEK"}
)

// Unusable reports whether an error is due to the KEK, and not to the wrapped key.
func Unusable(err error) bool {
	for _, sentinel := range []error{ErrUnavailable, ErrDenied, ErrThrottled, ErrTimeout, ErrKeyGone, ErrRecreated} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}
