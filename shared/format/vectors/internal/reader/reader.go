// Package reader is an independent reader of packages and keyset documents, with which the tests measure the vectors.
//
// It implements SPEC.md and shares no code with package format. Each rule has a name, and a [Reader] can be told to break
// one rule: it then skips that check, or makes a mistake that an implementer might make. A rule is tested only if some
// vector detects the reader that breaks it. The package is not fit for production.
package reader

// Code is the code of an error. It is empty on success.
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

// Reader reads packages. The zero Reader follows every rule.
type Reader struct {
	Broken Rule          // rule to break
	Asked  map[Rule]bool // if not nil, collects the rules that were evaluated
}

// breaks reports whether the reader breaks the rule.
func (r *Reader) breaks(rule Rule) bool {
	if r.Asked != nil {
		r.Asked[rule] = true
	}
	return r.Broken == rule
}

// check reports whether the input follows a rule, or the reader breaks it.
func (r *Reader) check(rule Rule, followed bool) bool { return r.breaks(rule) || followed }
