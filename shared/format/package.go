package format

// Package is a package split into header and body.
type Package struct {
	Header Header
	// Body is nonce || ciphertext || tag (AES256GCM), nonce || tag || plaintext (Public), or salt || commitment ||
	// chunks (Chunked). The body of a parsed package aliases the bytes that were parsed.
	Body []byte
}

// Parse decodes a binary package. It returns ErrUnsupportedVersion for another version of the format, ErrTooLarge for
// a body that exceeds its limit, and ErrMalformed for other bytes that are not a package.
func Parse(b []byte) (Package, error) {
	h, n, err := ParseHeader(b)
	if err != nil {
		return Package{}, err
	}
	p := Package{Header: h, Body: b[n:]}
	if err := CheckBody(&h, len(p.Body)); err != nil {
		return Package{}, err
	}
	return p, nil
}

// Append appends the package's binary encoding to dst. It returns ErrInvalid for a header that Check refuses, and the
// error of CheckBody for a body whose length the header does not allow.
func (p *Package) Append(dst []byte) ([]byte, error) {
	if err := CheckBody(&p.Header, len(p.Body)); err != nil {
		return dst, err
	}
	dst, err := p.Header.Append(dst)
	if err != nil {
		return dst, err
	}
	return append(dst, p.Body...), nil
}

// Sizes of a chunked body (C2SP chunked-encryption@v1).
const (
	chunkSize       = 16 << 10
	chunkedHeader   = 24 + 32 // salt and commitment
	sealedChunkSize = chunkSize + TagSize
)

// MaxDetails is the maximum length in bytes of the details that precede a value.
const MaxDetails = 2 + MaxContext + 2 + MaxName + 2 + MaxMediaType + 2 + MaxFileName + 8

// maxPlaintext and maxPadded are the maximum lengths in bytes of the plaintext of a package that is not chunked.
var maxPlaintext, maxPadded = MaxDetails + MaxValue, PaddedSize(MaxDetails + MaxValue)

// CheckBody checks the length n of a body in bytes against its header (SPEC.md section 3.3, rules 10 and 11). It returns
// ErrTooLarge if the body exceeds its limit, and ErrMalformed if no body with header h has n bytes.
func CheckBody(h *Header, n int) error {
	if h.Algorithm == Chunked {
		return checkChunks(n)
	}
	plaintext, limit := n-NonceSize-TagSize, maxPlaintext
	if h.Flags&Padded != 0 {
		limit = maxPadded
	}
	if plaintext < 0 {
		return ErrMalformed
	}
	if plaintext > limit {
		return ErrTooLarge
	}
	if h.Flags == Tombstone && plaintext != 0 {
		return ErrMalformed
	}
	return nil
}

// checkChunks is CheckBody for a chunked body. The last chunk is always shorter than the others, so a body that was cut
// between two chunks has an invalid length.
func checkChunks(n int) error {
	chunks := n - chunkedHeader
	if chunks < TagSize || chunks%sealedChunkSize < TagSize {
		return ErrMalformed
	}
	if int64(chunks)/sealedChunkSize >= MaxChunks {
		return ErrTooLarge
	}
	return nil
}
