package plain

import (
	"bytes"
	"slices"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Input contains everything that determines a package.
type Input struct {
	Key     []byte
	Header  format.Header
	Place   format.Place
	Details format.Details
	Nonce   []byte // 12 bytes; for format.Chunked, the body's salt of 24 bytes
	Value   []byte
}

// Seal returns the package and its additional data.
func Seal(in Input) (p format.Package, additional []byte, err error) {
	plaintext, err := format.AppendPlaintext(nil, &in.Header, in.Details, in.Value)
	if err != nil {
		return p, nil, err
	}
	if additional, err = AdditionalData(&in.Header, in.Place); err != nil {
		return p, nil, err
	}
	return format.Package{Header: in.Header, Body: SealBody(in, additional, plaintext)}, additional, nil
}

// AdditionalData returns the additional data of a body (section 5).
func AdditionalData(h *format.Header, place format.Place) ([]byte, error) {
	header, err := h.Append(nil)
	if err != nil {
		return nil, err
	}
	return format.AppendAdditionalData(nil, header, place)
}

// SealBody seals a plaintext, which need not match its header.
func SealBody(in Input, additional, plaintext []byte) []byte {
	switch in.Header.Algorithm {
	case format.Chunked:
		return SealChunks(FileKey(in.Key, in.Header.Salt), in.Nonce, additional, plaintext)
	case format.Public:
		tag := newGCM(MessageKey(in.Key, in.Header.Salt)).Seal(nil, in.Nonce, nil, slices.Concat(additional, plaintext))
		return slices.Concat(in.Nonce, tag, plaintext)
	default:
		return newGCM(MessageKey(in.Key, in.Header.Salt)).Seal(slices.Clone(in.Nonce), in.Nonce, plaintext, additional)
	}
}

// Open opens a package. The caller must have checked its header against its key.
func Open(key []byte, p format.Package, place format.Place) (d format.Details, value []byte, err error) {
	additional, err := AdditionalData(&p.Header, place)
	if err != nil {
		return d, nil, err
	}
	plaintext, err := openBody(key, p, additional)
	if err != nil {
		return d, nil, err
	}
	return format.SplitPlaintext(&p.Header, plaintext)
}

func openBody(key []byte, p format.Package, additional []byte) ([]byte, error) {
	if p.Header.Algorithm == format.Chunked {
		return OpenChunks(FileKey(key, p.Header.Salt), additional, p.Body)
	}
	aead := newGCM(MessageKey(key, p.Header.Salt))
	nonce, sealed := p.Body[:format.NonceSize], p.Body[format.NonceSize:]
	plaintext := []byte{}
	if p.Header.Algorithm == format.Public {
		sealed, plaintext = sealed[:format.TagSize], sealed[format.TagSize:]
		additional = slices.Concat(additional, plaintext)
	}
	opened, err := aead.Open(nil, nonce, sealed, additional)
	if err != nil {
		return nil, envelope.ErrAuthentication
	}
	return append(opened, plaintext...), nil
}

// Wrap wraps a key under another key with a binding (shared/envelope/SPEC.md section 5).
func Wrap(under []byte, binding envelope.Binding, nonce, key []byte) []byte {
	return newGCM(WrappingKey(under)).Seal(slices.Clone(nonce), nonce, key, binding.Append(nil))
}

// Unwrap opens a wrapped key and checks its key id.
func Unwrap(under []byte, binding envelope.Binding, wrapped []byte) ([]byte, error) {
	key, err := OpenWrapped(under, binding, wrapped)
	if err != nil || KeyID(key) != binding.ID {
		return nil, envelope.ErrAuthentication
	}
	return key, nil
}

// OpenWrapped opens a wrapped key without checking its key id.
func OpenWrapped(under []byte, binding envelope.Binding, wrapped []byte) ([]byte, error) {
	return newGCM(WrappingKey(under)).Open(nil, wrapped[:format.NonceSize], wrapped[format.NonceSize:], binding.Append(nil))
}

// WrapLocal wraps a root like the local KMS with key kek (server/kms/SPEC.md section 2).
func WrapLocal(kek []byte, binding envelope.Binding, nonce, root []byte) []byte {
	return WrapLocalAs(kek, binding, binding, nonce, root)
}

// WrapLocalAs is like WrapLocal, with different bindings inside and outside. No honest writer makes such a wrap.
func WrapLocalAs(kek []byte, outside, inside envelope.Binding, nonce, root []byte) []byte {
	id := KeyID(kek)
	return newGCM(WrappingKey(kek)).Seal(slices.Concat(id[:], nonce), nonce, append(inside.Append(nil), root...), outside.Append(nil))
}

// UnwrapLocal is the inverse of WrapLocal. It checks the binding inside and the root's key id.
func UnwrapLocal(kek []byte, binding envelope.Binding, wrapped []byte) ([]byte, error) {
	bound := binding.Append(nil)
	if len(wrapped) < format.KeyIDSize+format.NonceSize {
		return nil, envelope.ErrAuthentication
	}
	id, nonce, sealed := wrapped[:format.KeyIDSize], wrapped[format.KeyIDSize:][:format.NonceSize], wrapped[format.KeyIDSize+format.NonceSize:]
	if KeyID(kek) != format.KeyID(id) {
		return nil, envelope.ErrWrongSecret
	}
	got, err := newGCM(WrappingKey(kek)).Open(nil, nonce, sealed, bound)
	if err != nil {
		return nil, envelope.ErrAuthentication
	}
	root, ok := bytes.CutPrefix(got, bound)
	if !ok || KeyID(root) != binding.ID {
		return nil, envelope.ErrAuthentication
	}
	return root, nil
}
