package secret

import (
	"encoding/base64"

	"github.com/coffer-storage/coffer/shared/format"
)

// FromMasterKey takes 32 random bytes, which need no stretching; anything else is format.ErrInvalid.
func FromMasterKey(master []byte) (*Key, error) {
	k, err := FromBytes(master)
	if err != nil {
		return nil, err
	}
	defer k.Clear()
	return k.derive(nil, format.LabelMasterKey), nil
}

// ParseMasterKey tells a random master key from a password: it is one if the text is the padded standard
// base64 of exactly 32 bytes (44 characters). Then the key is FromMasterKey's.
func ParseMasterKey(text string) (k *Key, ok bool) {
	if len(text) != base64.StdEncoding.EncodedLen(format.KeySize) {
		return nil, false
	}
	var b [format.KeySize + 2]byte // what 44 characters without padding would hold, with room
	defer clear(b[:])
	n, err := base64.StdEncoding.Strict().Decode(b[:], []byte(text))
	if err != nil || n != format.KeySize {
		return nil, false
	}
	k, err = FromMasterKey(b[:n])
	return k, err == nil
}
