package reader

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Kind is section 4.5: it tells a master key from a passphrase.
func (r *Reader) Kind(secret string) (kind string, code Code) {
	if !r.check(NoEmptySecret, secret != "") || !r.check(SecretUTF8, utf8.ValidString(secret)) || !r.check(NoNUL, !strings.Contains(secret, "\x00")) {
		return "", invalid
	}
	encoding := base64.StdEncoding.Strict()
	if r.breaks(MasterKeyBits) {
		encoding = base64.StdEncoding
	}
	candidate := secret
	if r.breaks(MasterKeyExact) {
		candidate = strings.TrimSpace(secret)
	}
	if r.breaks(MasterKeyAlphabet) {
		candidate = strings.NewReplacer("-", "+", "_", "/").Replace(secret)
	}
	if r.breaks(MasterKeyPadding) && len(candidate) == 43 {
		candidate += "="
	}
	b, err := encoding.DecodeString(candidate)
	if err == nil && !strings.ContainsAny(candidate, "\r\n") && r.check(MasterKeySize, len(b) == 32) {
		return "master-key", ""
	}
	return "passphrase", ""
}

// Session is section 4.7: the master key and the name of a session.
func (r *Reader) Session(id, owner string) (master []byte, name string) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) != 32 {
		return nil, ""
	}
	key := func(label string) []byte {
		if r.breaks(OwnerInInfo) {
			return derive(raw, []byte(owner), label)
		}
		return derive(raw, nil, label+string(binary.BigEndian.AppendUint16(nil, uint16(len(owner))))+owner)
	}
	hash := sha256.Sum256(key("coffer/v1 session name"))
	if r.breaks(NameIsHashed) {
		hash = [32]byte(key("coffer/v1 session name"))
	}
	return key("coffer/v1 session key"), hex.EncodeToString(hash[:])
}

// FieldCollection is section 5.
func (r *Reader) FieldCollection(table, column string) (string, Code) {
	if !r.check(NamedField, table != "" && column != "") || !r.check(FieldNUL, !strings.Contains(table+column, "\x00")) {
		return "", invalid
	}
	separator := "\x00"
	if r.breaks(FieldSeparator) {
		separator = "."
	}
	if !r.check(FieldLimit, len(table)+1+len(column) <= 255) {
		return "", tooLarge
	}
	return table + separator + column, ""
}

// Supersedes is section 3.4.
func (r *Reader) Supersedes(a, b []byte) bool {
	p, _, _ := r.Parse(a)
	q, _, _ := r.Parse(b)
	if p.Revision != q.Revision && !r.breaks(RevisionFirst) {
		return p.Revision > q.Revision
	}
	if p.EncryptedAt != q.EncryptedAt && !r.breaks(TimeSecond) {
		return p.EncryptedAt > q.EncryptedAt
	}
	return bytes.Compare(a, b) > 0 && !r.breaks(BytesThird)
}

// Seals is the second step of section 6.7, for the primary of a keyset; ok says that there is one.
func (r *Reader) Seals(state byte, ok bool) Code {
	switch {
	case ok && state == Destroyed:
		if r.breaks(DestroyedPrimary) {
			return keyUnusable
		}
		return keyDestroyed
	case !ok, !r.check(EnabledPrimary, state == Enabled):
		return keyUnusable
	}
	return ""
}
