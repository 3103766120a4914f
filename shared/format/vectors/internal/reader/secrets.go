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

// CheckPassphrase checks a passphrase (section 4.4).
func (r *Reader) CheckPassphrase(text string) Code {
	if !r.check(NoEmptySecret, text != "") || !r.check(SecretUTF8, utf8.ValidString(text)) || !r.check(NoNUL, !strings.Contains(text, "\x00")) {
		return invalid
	}
	return ""
}

// CheckMasterKey checks a master key that is given as text (section 4.5).
func (r *Reader) CheckMasterKey(text string) Code {
	encoding := base64.StdEncoding.Strict()
	if r.breaks(MasterKeyBits) {
		encoding = base64.StdEncoding
	}
	candidate := text
	if r.breaks(MasterKeyExact) {
		candidate = strings.TrimSpace(text)
	}
	if r.breaks(MasterKeyAlphabet) {
		candidate = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	}
	if r.breaks(MasterKeyPadding) && len(candidate) == 43 {
		candidate += "="
	}
	b, err := encoding.DecodeString(candidate)
	if err == nil && !strings.ContainsAny(candidate, "\r\n") && r.check(MasterKeySize, len(b) == 32) {
		return ""
	}
	return invalid
}

// Session derives the master key and the name of a session (section 4.7).
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

// FieldCollection returns the collection of a database field (section 5).
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

// Supersedes reports whether package a replaces package b (section 3.4).
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

// Seals decides whether the primary of a keyset seals (section 6.7, step 2). found is false if the keyset has no primary.
func (r *Reader) Seals(state byte, found bool) Code {
	switch {
	case found && state == Destroyed:
		if r.breaks(DestroyedPrimary) {
			return keyUnusable
		}
		return keyDestroyed
	case !found, !r.check(EnabledPrimary, state == Enabled):
		return keyUnusable
	}
	return ""
}
