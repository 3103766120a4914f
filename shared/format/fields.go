package format

// Algorithm identifies how a package's body was made (SPEC.md sections 6.4 to 6.6).
type Algorithm uint8

// Algorithms.
const (
	AES256GCM Algorithm = 1 // encrypted: nonce, ciphertext, tag
	Public    Algorithm = 2 // authenticated but not encrypted (GMAC): nonce, tag, plaintext
	Chunked   Algorithm = 3 // Cobblestone-256 (C2SP chunked-encryption@v1): SHA-512 and AES-256-GCM in chunks of 16 KiB
)

// Use is the purpose of a data key. A key of one use does not open packages of another use.
type Use uint8

// Uses.
const (
	UseStorage Use = 1 // the browser's encrypted storage
	UseCache   Use = 2 // the server's encrypted cache
	UseService Use = 3 // packages that are returned to the caller
	UseField   Use = 4 // database fields
	UseFile    Use = 5 // files and backups
)

// NumUses is the number of uses. Their values are 1 to NumUses.
const NumUses = 5

// Flags is a bit set that modifies how a package is read (SPEC.md section 3.1).
type Flags uint8

// Flags.
const (
	Tombstone     Flags = 1 << 0 // the record was deleted; its value is empty
	SealedContext Flags = 1 << 1 // the context is in the plaintext instead of the header
	Padded        Flags = 1 << 2 // the plaintext ends with 0x80 and zeros
	SealedName    Flags = 1 << 3 // the name is in the plaintext, and the place has the blinded name

	allFlags = Tombstone | SealedContext | Padded | SealedName
)

// Source is where the key of a package comes from.
type Source uint8

// Sources.
const (
	FromKeyset     Source = 1 // a data key of a keyset
	FromPassphrase Source = 2 // derived from a passphrase by PBKDF2-HMAC-SHA256 (RFC 8018 section 5.2)
	FromMasterKey  Source = 3 // derived from a random 32-byte master key by HKDF-SHA256
)

// ValueType is the type that a value had when it was sealed, so that a reader can return the same type (SPEC.md section
// 6.2).
type ValueType uint8

// Value types.
const (
	Text   ValueType = 1 // UTF-8 text
	Bytes  ValueType = 2 // a byte array
	Buffer ValueType = 3 // an ArrayBuffer
	JSON   ValueType = 4 // RFC 8259 text
	Blob   ValueType = 5 // bytes with a media type
	File   ValueType = 6 // bytes with a media type, a name and a modification time
	View   ValueType = 7 // a typed array or DataView: bytes with an element type
)

// maxClass is the highest class of a header. Package classify defines the classes.
const maxClass = 5

// Names of the values in the JSON form, indexed by value.
var (
	algorithmNames = [...]string{"", "AES-256-GCM", "AES-256-GMAC", "Cobblestone-256"}
	useNames       = [...]string{"", "storage", "cache", "service", "field", "file"}
	sourceNames    = [...]string{"", "keyset", "passphrase", "master-key"}
	typeNames      = [...]string{"", "text", "bytes", "buffer", "json", "blob", "file", "view"}
)

// String returns the algorithm's name in the JSON form, or "unknown".
func (a Algorithm) String() string { return nameOf(algorithmNames[:], uint8(a)) }

// String returns the use's name in the JSON form, or "unknown".
func (u Use) String() string { return nameOf(useNames[:], uint8(u)) }

// String returns the source's name in the JSON form, or "unknown".
func (s Source) String() string { return nameOf(sourceNames[:], uint8(s)) }

// String returns the type's name in the JSON form, or "unknown".
func (v ValueType) String() string { return nameOf(typeNames[:], uint8(v)) }

// ParseAlgorithm returns the algorithm with the given name. It returns ErrMalformed for an unknown name.
func ParseAlgorithm(s string) (Algorithm, error) {
	v, err := valueOf(algorithmNames[:], s)
	return Algorithm(v), err
}

// ParseUse returns the use with the given name. It returns ErrMalformed for an unknown name.
func ParseUse(s string) (Use, error) {
	v, err := valueOf(useNames[:], s)
	return Use(v), err
}

// ParseSource returns the key source with the given name. It returns ErrMalformed for an unknown name.
func ParseSource(s string) (Source, error) {
	v, err := valueOf(sourceNames[:], s)
	return Source(v), err
}

// ParseValueType returns the value type with the given name. It returns ErrMalformed for an unknown name.
func ParseValueType(s string) (ValueType, error) {
	v, err := valueOf(typeNames[:], s)
	return ValueType(v), err
}

func nameOf(names []string, v uint8) string {
	if v == 0 || int(v) >= len(names) {
		return "unknown"
	}
	return names[v]
}

func valueOf(names []string, s string) (uint8, error) {
	for v := 1; v < len(names); v++ {
		if names[v] == s {
			return uint8(v), nil
		}
	}
	return 0, ErrMalformed
}
