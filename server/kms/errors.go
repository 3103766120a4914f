package kms

import (
	"errors"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// The sentinels.
var (
	// ErrURL says that a KEK's URL, or what it points to, is not valid.
	ErrURL = &codes.Error{Of: "invalid_argument", Text: "not the URL of a key encryption key"}
	// ErrSettings says that a KMS cannot be asked as it is configured: by credentials that are missing or not
	// valid, or where they could be overheard.
	ErrSettings = &codes.Error{Of: "invalid_argument", Text: "the settings of the KMS are not valid"}
	// ErrWrongKey says that another KEK wrapped the key.
	ErrWrongKey = envelope.ErrWrongSecret
	// ErrUnavailable says that the KMS cannot be reached, or fails.
	ErrUnavailable = &codes.Error{Of: "keyring_unavailable", Text: "the key encryption key cannot be used now"}
	// ErrDenied says that the KMS refuses the credentials, or that they may not use the key.
	ErrDenied = &codes.Error{Of: "kms_denied", Text: "KMS authentication failed"}
	// ErrThrottled says that the KMS takes no more calls for now.
	ErrThrottled = &codes.Error{Of: "kms_throttled", Text: "the KMS takes no more calls for now"}
	// ErrTimeout says that the KMS did not answer in time.
	ErrTimeout = &codes.Error{Of: "timeout", Text: "the KMS did not answer in time"}
	// ErrKeyGone says that the KMS's key is disabled, deleted or about to be, or was never there.
	ErrKeyGone = &codes.Error{Of: "kms_key_unusable", Text: "the KMS has no such key, or it is disabled or deleted"}
	// ErrRecreated says that the name of the KEK now means another key than the one that wrapped.
	ErrRecreated = &codes.Error{Of: "kms_key_unusable", Text: "the KMS key is another one than that which wrapped the keys: it was made again under " +
		"the same name, or the name was given to another key; bring back the former key, or restore a backup from before"}
)

// Unusable reports whether an error says that a KEK, and not what it was to unwrap, is at fault.
func Unusable(err error) bool {
	for _, sentinel := range []error{ErrUnavailable, ErrDenied, ErrThrottled, ErrTimeout, ErrKeyGone, ErrRecreated} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}
