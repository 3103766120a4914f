// Package format encodes and decodes Coffer's packages, version 1. SPEC.md in this folder is normative.
//
// The package handles bytes only: it uses no key, draws no random numbers and does no I/O. It guarantees that every
// header has exactly one encoding, that a parsed package is encoded again byte for byte, and that it checks every
// length in its input before it relies on it. Every later version of this package will read packages of version 1.
//
// A package is a [Header] followed by a body, which holds the nonce, ciphertext and tag. The tag authenticates the
// header and the [Place] where the package is stored; see [AppendAdditionalData].
package format

// Version is the version of the format. It is the fourth byte of every package.
const Version = 1

// Sizes in bytes (SPEC.md section 3).
const (
	KeyIDSize  = 32 // key id: HKDF-SHA256 of the key (section 4.1)
	SaltSize   = 16 // salt from which a message key is derived
	NonceSize  = 12 // random nonce, NIST SP 800-38D section 8.2.2
	TagSize    = 16 // full tag of NIST SP 800-38D
	KeySize    = 32 // AES-256 key
	HeaderSize = 80 // a header with an empty context
)

// Limits (SPEC.md section 8). Sizes are in bytes.
const (
	MaxValue          = 64 << 20 // value of a package that is not chunked (algorithms 1 and 2)
	MaxName           = 1024     // name of a record, UTF-8
	MaxOwner          = 255      // tenant or vault id, UTF-8
	MaxCollection     = 255      // collection, UTF-8
	MaxContext        = 16 << 10 // encoded context
	MaxContextEntries = 64       // entries, not bytes
	MaxMediaType      = 255      // media type of a blob or a file, UTF-8
	MaxFileName       = 1024     // name of a file, UTF-8

	MaxTime            = 253402300799999 // 9999-12-31T23:59:59.999Z, in ms since 1970: the last instant RFC 3339 can write
	MaxRevision        = 1<<53 - 1       // the largest integer that JSON represents exactly (RFC 8259 section 6)
	MaxPackagesPerSalt = 1 << 24         // packages that one writer seals under one salt
	MaxBytesPerSalt    = 1 << 38         // bytes of values that one writer seals under one salt
	MaxChunks          = 1 << 38         // chunks of a Chunked body (C2SP chunked-encryption@v1)

	MinIterations = 100_000    // PBKDF2 iterations below which every reader refuses a package; a policy may require more
	MaxIterations = 10_000_000 // PBKDF2 iterations above which a reader refuses a package, which bounds its work
)

// Info inputs of HKDF-SHA256 (RFC 5869, SPEC.md section 4).
const (
	LabelKeyID      = "coffer/v1 key id"      // key id of a key
	LabelMessageKey = "coffer/v1 message key" // key of a body of algorithm 1 or 2
	LabelFileKey    = "coffer/v1 file key"    // input key of a chunked body
	LabelMasterKey  = "coffer/v1 master key"  // K of a master key
)

// KeyID identifies a key and commits to it: it is derived from the key, and it is infeasible to find two keys with one id
// (SPEC.md section 4.1).
type KeyID [KeyIDSize]byte

// Salt is the random, public input with which a message key is derived from a data key (SPEC.md section 4.2).
type Salt [SaltSize]byte
