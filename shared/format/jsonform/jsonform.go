// Package jsonform is the JSON encoding of a package (SPEC.md section 7), for interchange; at rest a package is binary.
//
// It converts in both directions without loss: what Unmarshal accepts has one binary encoding, and what
// Marshal writes reads back equal. It reads what JSON.parse reads, and is as strict: encoding/json alone
// would ignore the case of member names and replace what is not Unicode. It is a package of its own because
// encoding/json would add a third to the browser's core.
package jsonform

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/coffer-storage/coffer/shared/format"
)

// strict refuses trailing bits that are not zero; line breaks, which it skips, are looked for apart.
var strict = base64.StdEncoding.Strict()

// Marshal returns the package's JSON form. It returns format.ErrInvalid for a header that no package may
// have, and the error of format.CheckBody for a body that cannot belong to it.
func Marshal(p format.Package) ([]byte, error) {
	ciphertext, metadata, err := Split(p)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(metadata); err != nil {
		return nil, err
	}
	// Not by the encoder, which would hold a long ciphertext several times.
	text := make([]byte, 0, len(`{"ciphertext":"","metadata":}`)+base64.StdEncoding.EncodedLen(len(ciphertext))+b.Len())
	text = base64.StdEncoding.AppendEncode(append(text, `{"ciphertext":"`...), ciphertext)
	text = append(append(text, `","metadata":`...), bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
	return append(text, '}'), nil
}

// Unmarshal reads a package's JSON form. It returns format.ErrUnsupportedVersion for another version of the
// format, format.ErrTooLarge for a one-piece package over the limit, and format.ErrMalformed for anything
// else that is not a package. What it allocates is bounded by the length of text.
func Unmarshal(text []byte) (format.Package, error) {
	if !wellFormed(text) {
		return format.Package{}, format.ErrMalformed
	}
	top, others, ok := collect(text, "ciphertext", "metadata")
	if !ok {
		return format.Package{}, format.ErrMalformed
	}
	var m Metadata
	if err := m.read(top["metadata"]); err != nil {
		return format.Package{}, err
	}
	h, nonce, err := m.Header()
	if err != nil {
		return format.Package{}, err
	}
	ciphertext, ok := unquote(top["ciphertext"])
	if !ok || others {
		return format.Package{}, format.ErrMalformed
	}
	return join(h, nonce, ciphertext)
}

// join decodes the ciphertext behind the nonce, once its length is known to be one that the header can have.
func join(h format.Header, nonce, ciphertext []byte) (format.Package, error) {
	n, ok := decodedLen(ciphertext)
	if !ok {
		return format.Package{}, format.ErrMalformed
	}
	if err := format.CheckBody(&h, len(nonce)+n); err != nil {
		return format.Package{}, err
	}
	body := append(make([]byte, 0, len(nonce)+n), nonce...)
	body, err := strict.AppendDecode(body, ciphertext)
	if err != nil {
		return format.Package{}, format.ErrMalformed
	}
	return format.Package{Header: h, Body: body}, nil
}

// Split takes a package apart into the two members of its JSON form; the ciphertext aliases the package's
// body. Its errors are those of Marshal.
func Split(p format.Package) (ciphertext []byte, m Metadata, err error) {
	if err := p.Header.Check(); err != nil {
		return nil, Metadata{}, err
	}
	if err := format.CheckBody(&p.Header, len(p.Body)); err != nil {
		return nil, Metadata{}, err
	}
	n := nonceSize(p.Header.Algorithm)
	return p.Body[n:], NewMetadata(&p.Header, p.Body[:n]), nil
}

// Join is the inverse of Split. It returns the errors of Unmarshal. The package's body is a copy.
func Join(ciphertext []byte, m Metadata) (format.Package, error) {
	h, nonce, err := m.Header()
	if err != nil {
		return format.Package{}, err
	}
	if err := format.CheckBody(&h, len(nonce)+len(ciphertext)); err != nil {
		return format.Package{}, err
	}
	return format.Package{Header: h, Body: slices.Concat(nonce, ciphertext)}, nil
}

// DecodeBase64 reads a ciphertext, nonce or salt in the one base64 form there is of it (RFC 4648 section 4:
// padded, no line breaks, trailing bits zero). It returns format.ErrMalformed for any other text.
func DecodeBase64(text []byte) ([]byte, error) {
	n, ok := decodedLen(text)
	if !ok {
		return nil, format.ErrMalformed
	}
	b, err := strict.AppendDecode(make([]byte, 0, n), text)
	if err != nil {
		return nil, format.ErrMalformed
	}
	return b, nil
}

// decodedLen returns the number of bytes that a base64 text of whole groups stands for.
func decodedLen(text []byte) (n int, ok bool) {
	if len(text)%4 != 0 || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, '\n') >= 0 {
		return 0, false
	}
	padding := len(text) - len(bytes.TrimRight(text, "="))
	return len(text)/4*3 - min(padding, 2), padding <= 2
}

// nonceSize is the length of the nonce that a body begins with. A chunked body's nonces are derived.
func nonceSize(a format.Algorithm) int {
	if a == format.Chunked {
		return 0
	}
	return format.NonceSize
}
