// Package classify is the one set of classification rules: what each class of data requires at rest, how
// cheap a password derivation its readers still accept, and how long a cache keeps it.
//
// It is pure: constants and comparisons, the standard library only, so that server and browser cannot
// disagree. The order of the constants is the order of sensitivity. There is no default class: the zero Class
// is invalid, so every write states one.
package classify

// Class is the sensitivity of a value, one byte in a package's header.
type Class uint8

const (
	Public       Class = 1 // published anyway; not encrypted, still authenticated
	Internal     Class = 2 // for internal use: preferences, interface state
	Confidential Class = 3 // business secrets: API keys, session tokens
	PII          Class = 4 // personally identifiable information
	PHI          Class = 5 // protected health information (45 CFR 160.103)
)

// All lists the classes from the least to the most sensitive.
var All = [...]Class{Public, Internal, Confidential, PII, PHI}

// Rules is what one class requires.
type Rules struct {
	// Encrypt is false for public data, which is authenticated in the clear.
	Encrypt bool
	// MinReadIterations is the least number of PBKDF2-HMAC-SHA256 iterations a reader accepts. What is written costs
	// at least MinWriteIterations.
	MinReadIterations uint32
	// MaxTTL is the longest, and default, time to live in the cache in seconds; 0 is none.
	MaxTTL int64
}

const (
	// MinWriteIterations is the least number of PBKDF2-HMAC-SHA256 iterations for whatever is written, of any class:
	// a password is only as strong as its cheapest derivation (OWASP Password Storage Cheat Sheet: 600,000).
	MinWriteIterations = 600_000
	// MaxIterations bounds the iterations a reader accepts, so that no package can demand minutes of work.
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

// Error is this package's error type; it carries a stable code of package codes' table.
type Error struct{ code, text string }

func (e *Error) Error() string { return "coffer: " + e.text }

// Code returns the error's stable code.
func (e *Error) Code() string { return e.code }

var (
	// ErrUnknown says that a text or byte names no class.
	ErrUnknown = &Error{"invalid_argument", "unknown classification: use public, internal, confidential, pii or phi"}
	// ErrTooLow says that a package's class is lower than its reader demands.
	ErrTooLow = &Error{"class_too_low", "the package's classification is lower than the reader demands"}
	// ErrIterations says that a derivation is cheaper than its class allows, or over the MaxIterations.
	ErrIterations = &Error{"kdf_out_of_range", "the PBKDF2 iterations are outside what this class accepts"}
)

// Parse reads a class's name in lower case, as Class.String writes it.
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

// String returns the class's name; "unknown" for an invalid class.
func (c Class) String() string {
	if !c.Valid() {
		return "unknown"
	}
	return names[c]
}

// Rules returns what the class requires. An invalid class gets PHI's rules, the strictest.
func (c Class) Rules() Rules {
	if !c.Valid() {
		return rules[PHI]
	}
	return rules[c]
}

// CheckMin returns ErrTooLow if c is lower than min, the lowest class that a reader accepts, and ErrUnknown if c is invalid.
// A zero min accepts every valid class.
func (c Class) CheckMin(min Class) error {
	if !c.Valid() {
		return ErrUnknown
	}
	if c < min {
		return ErrTooLow
	}
	return nil
}

// CheckIterations returns ErrIterations if a reader must refuse a derivation of that many iterations for the
// class. Public data derives its key like the lowest encrypted class.
func (c Class) CheckIterations(n uint32) error {
	floor := max(c.Rules().MinReadIterations, rules[Internal].MinReadIterations)
	if n < floor || n > MaxIterations {
		return ErrIterations
	}
	return nil
}
