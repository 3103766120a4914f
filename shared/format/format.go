// Package format reads and writes Coffer's package format, version 1. SPEC.md beside it is normative.
//
// It knows bytes only. It never sees a key, draws no randomness and does no I/O: what it guarantees is that
// every header has exactly one encoding, that whatever it parses it can write again byte for byte, and that
// no length taken from outside is trusted before it was checked. What version 1 wrote, every later version of
// this package will read.
//
// A package is a [Header] followed by a body (nonce, ciphertext and tag). The header is authenticated
// together with the [Place] the package lives in: see [AppendAdditionalData].
package format

// Version is the format's version, the fourth byte of every package.
const Version = 1

// Sizes in bytes (SPEC.md section 3).
const (
	KeyIDSize  = 32 // a key's commitment, HKDF-SHA256 of the key (section 4.1)
	SaltSize   = 16 // salt of a message key
	NonceSize  = 12 // NIST SP 800-38D section 8.2.2, random
	TagSize    = 16 // NIST SP 800-38D, the full tag
	KeySize    = 32 // AES-256
	HeaderSize = 80 // a header with an empty context
)

// Limits (SPEC.md section 8). Sizes are in bytes.
const (
	MaxValue          = 64 << 20 // value of a one-piece package; larger ones are chunked (algorithm 3)
	MaxName           = 1024     // name of a record, UTF-8
	MaxOwner          = 255      // tenant or vault id, UTF-8
	MaxCollection     = 255      // collection, UTF-8
	MaxContext        = 16 << 10 // encoded context
	MaxContextEntries = 64
	MaxMediaType      = 255  // media type of a blob or a file, UTF-8
	MaxFileName       = 1024 // name of a file, UTF-8

	MaxTime            = 253402300799999 // 9999-12-31T23:59:59.999Z, in ms since 1970: the last instant RFC 3339 can write
	MaxRevision        = 1<<53 - 1       // the largest integer that JSON numbers carry exactly (RFC 8259 section 6)
	MaxPackagesPerSalt = 1 << 24         // packages one writer seals under one message key
	MaxBytesPerSalt    = 1 << 38         // bytes one writer seals under one message key
	MaxChunks          = 1 << 38         // chunks of a Chunked body (C2SP chunked-encryption@v1)

	MinIterations = 100_000    // PBKDF2 iterations that a reader of the format accepts; policy may demand more
	MaxIterations = 10_000_000 // bounds the work that a package can demand of its reader
)

// Labels of HKDF-SHA256's info input (RFC 5869, SPEC.md section 4).
const (
	LabelKeyID      = "coffer/v1 key id"
	LabelMessageKey = "coffer/v1 message key"
	LabelFileKey    = "coffer/v1 file key"
	LabelMasterKey  = "coffer/v1 master key"
)

// KeyID names a key and commits to it: only the key itself yields it (SPEC.md section 4.1).
type KeyID [KeyIDSize]byte

// Salt makes a message key out of a data key. It is public and random.
type Salt [SaltSize]byte
