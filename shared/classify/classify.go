// Package classify defines the five classes of data and the rules of each: whether it is encrypted at rest, how
// many PBKDF2 iterations a reader requires, and how long a cache keeps it.
//
// The package imports the standard library only and has no state, so the server and the browser apply the same
// rules. Classes are ordered by sensitivity: PHI > PII > Confidential > Internal > Public. There is no default
// class: the zero Class is invalid, so that every write must state one.
package classify

// Class is the sensitivity of a value. It takes one byte in a package's header.
type Class uint8

// The classes, from the least to the most sensitive.
const (
	Public       Class = 1 // data that may be published: not encrypted, but authenticated
	Internal     Class = 2 // data for internal use, such as preferences and interface state
	Confidential Class = 3 // business secrets, such as API keys and session tokens
	PII          Class = 4 // personally identifiable information
	PHI          Class = 5 // protected health information (45 CFR 160.103)
)

// All lists the classes from the least to the most sensitive.
var All = [...]Class{Public, Internal, Confidential, PII, PHI}

// Rules are the requirements of one class.
type Rules struct {
	// Encrypt is false for public data, which is authenticated but not encrypted.
	Encrypt bool
	// MinReadIterations is the number of PBKDF2-HMAC-SHA256 iterations below which a reader refuses a package.
	// Writers use at least MinWriteIterations.
	MinReadIterations uint32
	// MaxTTL is the longest time to live in the cache, and the default, in seconds. 0 means no limit.
	MaxTTL int64
}

const (
	// MinWriteIterations is the minimum number of PBKDF2-HMAC-SHA256 iterations for a package or slot of any
	// class (OWASP Password Storage Cheat Sheet: 600,000). One password opens all classes, so an attacker tries
	// the cheapest derivation.
	MinWriteIterations = 600_000
	// MaxIterations is the number of iterations above which a reader refuses a package, so that a hostile package
	// cannot cost its reader minutes of work.
	MaxIterations = 10_000_000
)

const hour, day = 3600, 24 * 3600

var rules = [...]Rules{
	Public:       {},
	Internal:     {Encrypt: true, MinReadIterations: 100_000, MaxTTL: 30 * day},
	Confidential: {Encrypt: true, MinReadIterations: 150_000, MaxTTL: 24 * hour},
	PII:          {Encrypt: true, MinReadIterations: 150_000, MaxTTL: 7 * day},
	PHI:          {Encrypt: true, MinReadIterations: 250_000, MaxTTL: 24 * hour},
}

var names = [...]string{Public: "public", Internal: "internal", Confidential: "confidential", PII: "pii", PHI: "phi"}

// codedError is a sentinel error with a code of package codes, which this package does not import.
type codedError struct{ code, text string }

func (e *codedError) Error() string { return "coffer: " + e.text }

// Code returns the error's stable code, a row of package codes' table.
func (e *codedError) Code() string { return e.code }

// Sentinel errors. Each has a method Code() string, which codes.Of reads.
var (
	// ErrUnknown means that a text or byte is not a class. Its code is "invalid_argument".
	ErrUnknown = &codedError{"invalid_argument", "unknown classification: use public, internal, confidential, pii or phi"}
	// ErrTooLow means that a package's class is below the reader's minimum. Its code is "class_too_low".
	ErrTooLow = &codedError{"class_too_low", "the package's classification is below the reader's minimum"}
	// ErrIterations means that a key derivation has fewer iterations than its class requires, or more than
	// MaxIterations. Its code is "kdf_out_of_range".
	ErrIterations = &codedError{"kdf_out_of_range", "the PBKDF2 iterations are out of range for this class"}
)

// Parse returns the class with the given lower-case name, as Class.String returns it. It returns ErrUnknown for
// any other text.
func Parse(name string) (Class, error) {
	for _, c := range All {
		if names[c] == name {
			return c, nil
		}
	}
	return 0, ErrUnknown
}

// Valid reports whether c is one of the five classes.
func (c Class) Valid() bool { return c >= Public && c <= PHI }

// String returns the class's name, or "unknown" if c is invalid.
func (c Class) String() string {
	if !c.Valid() {
		return "unknown"
	}
	return names[c]
}

// Rules returns the rules of the class. For an invalid class it returns those of PHI, the strictest.
func (c Class) Rules() Rules {
	if !c.Valid() {
		return rules[PHI]
	}
	return rules[c]
}

// CheckMin returns ErrTooLow if c is below min, the lowest class that a reader accepts, and ErrUnknown if c is
// invalid. A zero min accepts every valid class.
func (c Class) CheckMin(min Class) error {
	if !c.Valid() {
		return ErrUnknown
	}
	if c < min {
		return ErrTooLow
	}
	return nil
}

// CheckIterations returns ErrIterations if a reader must refuse to derive a key of the class with n PBKDF2
// iterations. Public data has the same lower bound as Internal.
func (c Class) CheckIterations(n uint32) error {
	floor := max(c.Rules().MinReadIterations, rules[Internal].MinReadIterations)
	if n < floor || n > MaxIterations {
		return ErrIterations
	}
	return nil
}
