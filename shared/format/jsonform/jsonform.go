// Package jsonform encodes and decodes the JSON form of a package (SPEC.md section 7), which is used for interchange.
// Stored packages are binary.
//
// The two forms convert into each other without loss: every text that Unmarshal accepts has exactly one binary
// encoding, and Unmarshal reverses Marshal. The package accepts the same texts as JSON.parse. encoding/json alone is
// less strict: it ignores the case of member names and replaces invalid Unicode. The package is separate from package
// format, because encoding/json would make the browser's core a third larger.
package jsonform

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/coffer-storage/coffer/shared/format"
)

// strict refuses nonzero trailing bits. It ignores line breaks, which decodedLen refuses.
var strict = base64.StdEncoding.Strict()

// Marshal returns the JSON form of a package. It returns format.ErrInvalid for an invalid header, and the error of
// format.CheckBody for a body whose length the header does not allow.
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
	// Append the ciphertext directly, because the encoder would copy a long one several times.
	text := make([]byte, 0, len(`{"ciphertext":"","metadata":}`)+base64.StdEncoding.EncodedLen(len(ciphertext))+b.Len())
	text = base64.StdEncoding.AppendEncode(append(text, `{"ciphertext":"`...), ciphertext)
	text = append(append(text, `","metadata":`...), bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
	return append(text, '}'), nil
}

// Unmarshal decodes the JSON form of a package. It returns format.ErrUnsupportedVersion for another version of the
// format, format.ErrTooLarge for a body that exceeds its limit, and format.ErrMalformed for other texts that are not a
// package. The memory that it allocates is proportional to the length of text.
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

// join checks the length of the body against the header, and then decodes the ciphertext after the nonce.
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

// Split returns the two members of a package's JSON form. The ciphertext aliases the package's body. It returns the errors
// of Marshal.
func Split(p format.Package) (ciphertext []byte, m Metadata, err error) {
	if err := p.Header.Check(); err != nil {
		return nil, Metadata{}, err
	}
	if err := format.CheckBody(&p.Header, len(p.Body)); err != nil {
		return nil, Metadata{}, err
	}
	n := nonceSize(p.Header.Algorithm)
	return p.Body[n:], newMetadata(&p.Header, p.Body[:n]), nil
}

// Join is the inverse of Split. It copies the ciphertext into the package's body. It returns the errors of Unmarshal.
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

// DecodeBase64 decodes strict base64: RFC 4648 section 4 with padding, without line breaks, and with zero trailing bits. It
// returns format.ErrMalformed for any other text.
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

// decodedLen returns the number of bytes that a base64 text encodes. ok is false if the text is not made of groups of four
// characters, contains line breaks or has too much padding.
func decodedLen(text []byte) (n int, ok bool) {
	if len(text)%4 != 0 || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, '\n') >= 0 {
		return 0, false
	}
	padding := len(text) - len(bytes.TrimRight(text, "="))
	return len(text)/4*3 - min(padding, 2), padding <= 2
}

// nonceSize returns the length in bytes of the nonce at the start of a body. It is 0 for a chunked body, because its
// nonces are derived.
func nonceSize(a format.Algorithm) int {
	if a == format.Chunked {
		return 0
	}
	return format.NonceSize
}
