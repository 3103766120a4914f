package format

import "github.com/coffer-storage/coffer/shared/wire"

// Header describes a package and identifies its key (SPEC.md section 3.1). It is readable and authenticated.
type Header struct {
	Algorithm   Algorithm
	Use         Use
	Flags       Flags
	Source      Source
	Class       uint8 // a classify.Class
	Type        ValueType
	KeyID       KeyID
	Salt        Salt
	EncryptedAt int64   // milliseconds since 1970-01-01T00:00:00Z
	Revision    uint64  // 0 unless the writer's records are synchronised (SPEC.md section 3.4)
	Iterations  uint32  // PBKDF2 iterations; 0 unless Source is FromPassphrase
	Context     Context // empty if Flags has SealedContext
}

var magic = [4]byte{'C', 'F', 'R', Version}

// Check returns ErrInvalid if the header breaks a rule of SPEC.md section 3.3.
func (h *Header) Check() error {
	inRange := h.Algorithm >= AES256GCM && h.Algorithm <= Chunked &&
		h.Use >= UseStorage && h.Use <= UseFile &&
		h.Flags&^allFlags == 0 &&
		h.Source >= FromKeyset && h.Source <= FromMasterKey &&
		h.Class >= 1 && h.Class <= maxClass &&
		h.Type >= Text && h.Type <= View &&
		h.EncryptedAt >= 0 && h.EncryptedAt <= MaxTime &&
		h.Revision <= MaxRevision
	if !inRange || (h.Source == FromPassphrase) != (h.Iterations > 0) {
		return ErrInvalid
	}
	if h.Algorithm == Public && (h.Class != 1 || h.Flags != 0) {
		return ErrInvalid
	}
	if h.Flags&SealedContext != 0 && h.Context.Size() > 0 {
		return ErrInvalid
	}
	if h.Flags&Tombstone != 0 && (h.Algorithm != AES256GCM || h.Type != Bytes) {
		return ErrInvalid
	}
	return nil
}

// Size is the length of the encoded header in bytes.
func (h *Header) Size() int { return HeaderSize + h.Context.Size() }

// Append appends the header's encoding to dst. It returns ErrInvalid for a header that Check refuses.
func (h *Header) Append(dst []byte) ([]byte, error) {
	if err := h.Check(); err != nil {
		return dst, err
	}
	fixed := [HeaderSize - 2]byte{magic[0], magic[1], magic[2], magic[3],
		byte(h.Algorithm), byte(h.Use), byte(h.Flags), byte(h.Source), h.Class, byte(h.Type)}
	copy(fixed[10:], h.KeyID[:])
	copy(fixed[42:], h.Salt[:])
	wire.PutUint64(fixed[58:], uint64(h.EncryptedAt))
	wire.PutUint64(fixed[66:], h.Revision)
	wire.PutUint32(fixed[74:], h.Iterations)
	dst = append(dst, fixed[:]...)
	return wire.AppendText(dst, h.Context.encoded), nil
}

// ParseHeader decodes the header at the start of b and returns its length n in bytes. It returns
// ErrUnsupportedVersion for another version of the format, and ErrMalformed for other bytes that are not a header. The
// header does not alias b.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if err = h.parse(b); err != nil {
		return Header{}, 0, err
	}
	return h, h.Size(), nil
}

func (h *Header) parse(b []byte) (err error) {
	if len(b) < 4 || [3]byte(b) != [3]byte(magic[:]) {
		return ErrMalformed
	}
	if b[3] != Version {
		return ErrUnsupportedVersion
	}
	if len(b) < HeaderSize {
		return ErrMalformed
	}
	h.Algorithm, h.Use, h.Flags = Algorithm(b[4]), Use(b[5]), Flags(b[6])
	h.Source, h.Class, h.Type = Source(b[7]), b[8], ValueType(b[9])
	copy(h.KeyID[:], b[10:42])
	copy(h.Salt[:], b[42:58])
	h.EncryptedAt = int64(wire.Uint64(b[58:66]))
	h.Revision = wire.Uint64(b[66:74])
	h.Iterations = wire.Uint32(b[74:78])
	end := HeaderSize + int(b[78])<<8 + int(b[79])
	if len(b) < end {
		return ErrMalformed
	}
	if h.Context, err = parseContext(b[HeaderSize:end]); err != nil {
		return err
	}
	if h.Check() != nil {
		return ErrMalformed
	}
	return nil
}
