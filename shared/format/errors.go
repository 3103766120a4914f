package format

// codedError is a sentinel error with a code of package codes, which this package does not import. Its text
// never contains any part of the input.
type codedError struct{ code, text string }

func (e *codedError) Error() string { return "coffer: " + e.text }

// Code returns the error's stable code, a row of package codes' table.
func (e *codedError) Code() string { return e.code }

// Sentinel errors (SPEC.md section 9). Each has a method Code() string, which codes.Of reads.
var (
	// ErrMalformed means that the bytes or text are not a package. It does not say why. Its code is "malformed".
	ErrMalformed = &codedError{"malformed", "malformed package"}
	// ErrUnsupportedVersion means that the bytes are a package of another version of the format. Its code is
	// "unsupported_version".
	ErrUnsupportedVersion = &codedError{"unsupported_version", "package of an unsupported version: update Coffer to read it"}
	// ErrInvalid means that the caller passed a name, context, detail or header field that is not valid UTF-8 or
	// is out of range. Its code is "invalid_argument".
	ErrInvalid = &codedError{"invalid_argument", "a name, context or header field is not valid UTF-8 or is out of range"}
	// ErrTooLarge means that a value, name, context or package exceeds its limit (the Max constants). Its code is
	// "too_large".
	ErrTooLarge = &codedError{"too_large", "value, name, context or package exceeds its limit"}
)
