package format

// Algorithm says how a package's body was made.
type Algorithm uint8

const (
	AES256GCM Algorithm = 1 // sealed: nonce, ciphertext, tag
	Public    Algorithm = 2 // GMAC: nonce, tag, then the value in the clear, authenticated
	Chunked   Algorithm = 3 // Cobblestone-256 (C2SP chunked-encryption@v1): SHA-512 and AES-256-GCM in chunks of 16 KiB
)

// Use is what a data key is for; a key of one use never opens another's packages.
type Use uint8

const (
	UseStorage Use = 1 // the browser's encrypted storage
	UseCache   Use = 2 // the server's encrypted cache
	UseService Use = 3 // packages handed to the caller
	UseField   Use = 4 // database fields
	UseFile    Use = 5 // files and backups
)

// Uses is the number of uses: they run from 1 to Uses.
const NumUses = 5

// Flags modify how a package is read.
type Flags uint8

const (
	Tombstone     Flags = 1 << 0 // the record was deleted; its value is empty
	SealedContext Flags = 1 << 1 // the context lies inside the plaintext
	Padded        Flags = 1 << 2 // the plaintext ends with 0x80 and zeros
	SealedName    Flags = 1 << 3 // the name lies inside the plaintext; the place has the blinded one

	allFlags = Tombstone | SealedContext | Padded | SealedName
)

// Source says where the key comes from.
type Source uint8

const (
	FromKeyset     Source = 1 // a data key of a keyset
	FromPassphrase Source = 2 // PBKDF2-HMAC-SHA256 of a passphrase (RFC 8018 section 5.2)
	FromMasterKey  Source = 3 // HKDF-SHA256 of a random 32-byte master key
)

// ValueType is the type a value had when it was sealed, so that it comes back as such.
type ValueType uint8

const (
	Text   ValueType = 1 // UTF-8 text
	Bytes  ValueType = 2 // a byte array
	Buffer ValueType = 3 // an ArrayBuffer
	JSON   ValueType = 4 // RFC 8259 text
	Blob   ValueType = 5 // bytes with a media type
	File   ValueType = 6 // bytes with a media type, a name and a modification time
	View   ValueType = 7 // a typed array or DataView: bytes with an element type
)

// The highest class a header may carry; what the classes mean is package classify's.
const maxClass = 5

// names of the fields' values in the JSON form; the index is the value.
var (
	algorithmNames = [...]string{"", "AES-256-GCM", "AES-256-GMAC", "Cobblestone-256"}
	useNames       = [...]string{"", "storage", "cache", "service", "field", "file"}
	sourceNames    = [...]string{"", "keyset", "passphrase", "master-key"}
	typeNames      = [...]string{"", "text", "bytes", "buffer", "json", "blob", "file", "view"}
)

func (a Algorithm) String() string { return nameOf(algorithmNames[:], uint8(a)) }
func (u Use) String() string       { return nameOf(useNames[:], uint8(u)) }
func (s Source) String() string    { return nameOf(sourceNames[:], uint8(s)) }
func (v ValueType) String() string { return nameOf(typeNames[:], uint8(v)) }

// ParseAlgorithm reads an algorithm's name; ErrMalformed if there is none of that name.
func ParseAlgorithm(s string) (Algorithm, error) {
	v, err := valueOf(algorithmNames[:], s)
	return Algorithm(v), err
}

// ParseUse reads a use's name; ErrMalformed if there is none of that name.
func ParseUse(s string) (Use, error) {
	v, err := valueOf(useNames[:], s)
	return Use(v), err
}

// ParseSource reads a key source's name; ErrMalformed if there is none of that name.
func ParseSource(s string) (Source, error) {
	v, err := valueOf(sourceNames[:], s)
	return Source(v), err
}

// ParseValueType reads a value type's name; ErrMalformed if there is none of that name.
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
