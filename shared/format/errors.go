package format

// Error is one of this package's sentinels. It carries a stable code and never any part of the input.
type Error struct{ code, text string }

func (e *Error) Error() string { return "coffer: " + e.text }

// Code returns the error's stable code, one of package codes' table.
func (e *Error) Code() string { return e.code }

var (
	// ErrMalformed is every way in which bytes from outside fail to be a package: it does not say more.
	ErrMalformed = &Error{"malformed", "malformed package"}
	// ErrUnsupportedVersion says that the bytes are a package of another version of the format.
	ErrUnsupportedVersion = &Error{"unsupported_version", "package of an unsupported version: update Coffer to read it"}
	// ErrInvalid says that a name, context or header field given by the caller cannot be written.
	ErrInvalid = &Error{"invalid_argument", "a name, context or header field is not valid UTF-8 or not in its range"}
	// ErrTooLarge says that a value, name or context is over its limit (the Max constants).
	ErrTooLarge = &Error{"too_large", "value, name or context over its limit"}
)
