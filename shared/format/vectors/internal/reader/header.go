package reader

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// Header is a package's header (SPEC.md section 3.1).
type Header struct {
	Algorithm, Use, Flags, Source, Class, Type byte
	KeyID, Salt                                string
	EncryptedAt, Revision                      uint64
	Iterations                                 uint32
	Context                                    [][2]string

	bytes []byte // encoded header
}

// Bits of the flags of a header.
const (
	tombstone, sealedContext, padded, sealedName = 1, 2, 4, 8

	onePiece, public, chunked          = 1, 2, 3
	keyset, passphrase, masterKey      = 1, 2, 3
	text, blob, file, jsonText, view   = 1, 5, 6, 4, 7
	maxTime, maxRevision, maxValue     = 253402300799999, 1<<53 - 1, 64 << 20
	maxContext, maxEntries, maxDetails = 16384, 64, 2 + 16384 + 2 + 1024 + 2 + 255 + 2 + 1024 + 8
)

// Parse reads a binary package.
func (r *Reader) Parse(b []byte) (h Header, body []byte, code Code) {
	if len(b) < 4 || !r.check(Magic, string(b[:3]) == "CFR") {
		return h, nil, malformed
	}
	if r.breaks(VersionFirst) && len(b) < 80 {
		return h, nil, malformed
	}
	if !r.check(Version, b[3] == 1) {
		return h, nil, unsupported
	}
	if len(b) < 80 {
		return h, nil, malformed
	}
	h = Header{
		Algorithm: b[4], Use: b[5], Flags: b[6], Source: b[7], Class: b[8], Type: b[9], KeyID: string(b[10:42]), Salt: string(b[42:58]),
		EncryptedAt: binary.BigEndian.Uint64(b[58:]), Revision: binary.BigEndian.Uint64(b[66:]), Iterations: binary.BigEndian.Uint32(b[74:]),
	}
	n := int(binary.BigEndian.Uint16(b[78:]))
	if len(b)-80 < n {
		return h, nil, malformed
	}
	var ok bool
	if h.Context, ok = r.context(b[80 : 80+n]); !ok || !r.valid(&h) {
		return h, nil, malformed
	}
	h.bytes, body = b[:80+n], b[80+n:]
	return h, body, r.Body(h.Algorithm, h.Flags, int64(len(body)))
}

// valid checks the rules of section 3.3.
func (r *Reader) valid(h *Header) bool {
	in := func(v, most byte) bool { return v >= 1 && v <= most }
	return r.check(KnownAlgorithm, in(h.Algorithm, 3)) && r.check(KnownUse, in(h.Use, 5)) && r.check(KnownSource, in(h.Source, 3)) &&
		r.check(KnownClass, in(h.Class, 5)) && r.check(KnownType, in(h.Type, 7)) && r.check(KnownFlags, h.Flags < 16) &&
		r.check(LastTime, h.EncryptedAt <= maxTime) && r.check(LastRevision, h.Revision <= maxRevision) &&
		r.check(IterationsOfPassphrase, h.Source != passphrase || h.Iterations > 0) &&
		r.check(NoIterations, h.Source == passphrase || h.Iterations == 0) &&
		r.check(PublicClass, h.Algorithm != public || h.Class == 1) && r.check(PublicFlags, h.Algorithm != public || h.Flags == 0) &&
		r.check(OneContext, h.Flags&sealedContext == 0 || len(h.Context) == 0) &&
		r.check(TombstoneAlgorithm, h.Flags&tombstone == 0 || h.Algorithm == onePiece) &&
		r.check(TombstoneType, h.Flags&tombstone == 0 || h.Type == 2) &&
		!(r.breaks(PublicIsPublic) && h.Class == 1 && h.Algorithm == onePiece)
}

// context checks and decodes a context (section 3.2).
func (r *Reader) context(b []byte) (entries [][2]string, ok bool) {
	if !r.check(ContextSize, len(b) <= maxContext) {
		return nil, false
	}
	for len(b) > 0 {
		var fields [2]string
		for i := range fields {
			field, rest, ok := cut(b)
			if !ok {
				return nil, r.breaks(ContextComplete)
			}
			if !r.check([2]Rule{ContextKeyUTF8, ContextValueUTF8}[i], utf8.Valid(field)) {
				return nil, false
			}
			fields[i], b = string(field), rest
		}
		if n := len(entries); n > 0 && !r.ascends(entries[n-1][0], fields[0]) {
			return nil, false
		}
		if entries = append(entries, fields); !r.check(ContextEntries, len(entries) <= maxEntries) {
			return nil, false
		}
	}
	return entries, true
}

func (r *Reader) ascends(a, b string) bool {
	if a == b {
		return r.breaks(ContextKeyTwice)
	}
	if r.breaks(ContextBytes) {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b))) < 0
	}
	return r.check(ContextSorted, a < b)
}

// cut splits b after the field at its start, which follows its length in two bytes.
func cut(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}

// Body checks the length of a body (section 3.3, rules 10 and 11).
func (r *Reader) Body(algorithm, flags byte, n int64) Code {
	if algorithm == chunked {
		n -= 56
		switch {
		case n < 16, !r.check(LastChunk, n%16400 >= 16):
			return malformed
		case !r.check(ChunkCount, n/16400 < 1<<38):
			return tooLarge
		}
		return ""
	}
	most := int64(maxDetails + maxValue)
	if flags&padded != 0 && !r.breaks(PaddedLimit) {
		most = padme(maxDetails + maxValue)
	}
	n -= 28
	switch {
	case n < 0:
		return malformed
	case !r.check(BodyLimit, n <= most):
		return tooLarge
	case !r.check(BareTombstone, flags != tombstone || n == 0):
		return malformed
	}
	return ""
}

// padme returns the length after Padmé (section 6.3).
func padme(n int64) int64 {
	size := max(n+1, 256)
	e, s := 0, 0
	for size>>(e+1) > 0 {
		e++
	}
	for e>>s > 0 {
		s++
	}
	mask := int64(1)<<(e-s) - 1
	return (size + mask) &^ mask
}

// Padded returns the length to which a plaintext of n bytes is padded.
func (r *Reader) Padded(n int64) int64 {
	if r.breaks(MinPaddedSize) && n+1 < 256 {
		return n + 1
	}
	if r.breaks(Padme) {
		return (n + 256) &^ 255
	}
	return padme(n)
}
