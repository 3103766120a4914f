// Package reader reads packages as SPEC.md says, for the tests of the vectors.
//
// It is written from the page and shares no code with package format, and each of its rules has a name. A [Reader] can
// break one of them: it then skips that check, or does something else that an implementer may take for right. The vectors
// must notice each broken rule, or they do not test it. Nothing here is for production: keys are bytes, and errors are
// strings.
package reader

// Code is the code of an error, empty for success.
type Code string

const (
	malformed      Code = "malformed"
	unsupported    Code = "unsupported_version"
	tooLarge       Code = "too_large"
	invalid        Code = "invalid_argument"
	outOfRange     Code = "kdf_out_of_range"
	wrongSecret    Code = "wrong_secret"
	unknownKey     Code = "unknown_key"
	keyDestroyed   Code = "key_destroyed"
	keyUnusable    Code = "key_unusable"
	authentication Code = "authentication_failed"
	tooLow         Code = "class_too_low"
)

// Reader reads packages. The zero Reader keeps every rule.
type Reader struct {
	Broken Rule          // the rule that it breaks
	Asked  map[Rule]bool // if not nil, the rules that were looked at
}

// breaks reports whether the reader breaks the rule.
func (r *Reader) breaks(rule Rule) bool {
	if r.Asked != nil {
		r.Asked[rule] = true
	}
	return r.Broken == rule
}

// check reports whether a rule is kept, or broken by the reader.
func (r *Reader) check(rule Rule, kept bool) bool { return r.breaks(rule) || kept }
