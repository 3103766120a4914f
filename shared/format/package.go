package format

// Package is a header and a body apart. A parsed package's Body aliases the bytes that it was parsed from.
type Package struct {
	Header Header
	// Body is nonce || ciphertext || tag (AES256GCM), nonce || tag || value (Public), or salt || commitment
	// || chunks (Chunked).
	Body []byte
}

// Parse reads a whole binary package. It returns ErrUnsupportedVersion for another version of the format,
// ErrTooLarge for a package over the limit, and ErrMalformed for anything else that is not a
// package.
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

// Append appends the package's binary encoding to dst. It returns ErrInvalid for a header that Check refuses
// and the error of CheckBody for a body that cannot belong to it.
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

// MaxDetails is the greatest length of the details before a value in bytes.
const MaxDetails = 2 + MaxContext + 2 + MaxName + 2 + MaxMediaType + 2 + MaxFileName + 8

// maxPlaintext and maxPadded bound the plaintext of a one-piece package.
var maxPlaintext, maxPadded = MaxDetails + MaxValue, PaddedSize(MaxDetails + MaxValue)

// CheckBody returns ErrMalformed if no body of n bytes can belong to h, and ErrTooLarge for a body over the limit.
func CheckBody(h *Header, n int) error {
	if h.Algorithm == Chunked {
		return checkChunks(n)
	}
	plaintext, most := n-NonceSize-TagSize, maxPlaintext
	if h.Flags&Padded != 0 {
		most = maxPadded
	}
	if plaintext < 0 {
		return ErrMalformed
	}
	if plaintext > most {
		return ErrTooLarge
	}
	if h.Flags == Tombstone && plaintext != 0 {
		return ErrMalformed
	}
	return nil
}

// checkChunks decides as CheckBody does. The last chunk is shorter than the others, so a body that is cut between two
// chunks has a length that no body has.
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
