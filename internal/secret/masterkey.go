package secret

import (
	"encoding/base64"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrMasterKey reports a master key that is not 32 bytes or their base64.
var ErrMasterKey = &codes.Error{
	ErrorCode: "invalid_argument", Message: "a master key is 32 bytes or their standard base64 (44 characters); use a passphrase as such, with ENCRYPTION_PASSPHRASE or NewPassphraseService",
}

// FromMasterKey derives the key of a master key: 32 random bytes, which need no stretching. Any other length is
// ErrMasterKey. The caller may clear the master key afterwards.
func FromMasterKey(masterKey []byte) (*Key, error) {
	k, err := FromBytes(masterKey)
	if err != nil {
		return nil, ErrMasterKey
	}
	defer k.Clear()
	return k.derive(nil, format.LabelMasterKey), nil
}

// ParseMasterKey decodes a master key from the padded standard base64 of exactly 32 bytes (44 characters). It returns
// ErrMasterKey for any other text. The caller clears the returned bytes after use.
func ParseMasterKey(text string) ([]byte, error) {
	if len(text) != base64.StdEncoding.EncodedLen(format.KeySize) {
		return nil, ErrMasterKey
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(b, []byte(text))
	if err != nil || n != format.KeySize {
		clear(b)
		return nil, ErrMasterKey
	}
	return b[:n], nil
}
