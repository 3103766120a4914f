package identity

import (
	"errors"
	"strings"
)

// Scopes is a set of rights; the zero Scopes is the empty set.
type Scopes uint8

// The scopes. Their numbers live in memory only; their names are for ever.
const (
	CacheRead Scopes = 1 << iota
	CacheWrite
	PackageEncrypt
	PackageDecrypt
	KeysAdmin
	AuditRead
	MetricsRead

	AllScopes Scopes = 1<<iota - 1

	// AdminScopes are those that need no data of a tenant: an operator's.
	AdminScopes = KeysAdmin | AuditRead | MetricsRead
)

// names are in the order of the constants.
var names = [...]string{"cache:read", "cache:write", "package:encrypt", "package:decrypt", "keys:admin", "audit:read", "metrics:read"}

// ErrScope says that a name is not one of a scope. It does not quote the name.
var ErrScope = errors.New("identity: unknown scope; there are " + strings.Join(names[:], ", "))

// Has reports whether every one of the needed scopes is in the set.
func (s Scopes) Has(needed Scopes) bool { return s&needed == needed }

// Names returns the names of the set's scopes, in the order of the constants.
func (s Scopes) Names() []string {
	list := []string{}
	for i, name := range names {
		if s.Has(1 << i) {
			list = append(list, name)
		}
	}
	return list
}

// String returns the names with spaces between them (RFC 6749 section 3.3).
func (s Scopes) String() string { return strings.Join(s.Names(), " ") }

// ParseScopes returns the set of the scopes with these names, and ErrScope if one has no scope.
func ParseScopes(list []string) (Scopes, error) {
	var set Scopes
	for _, name := range list {
		scope, ok := ParseScope(name)
		if !ok {
			return 0, ErrScope
		}
		set |= scope
	}
	return set, nil
}

// Scope returns the set of the one scope with this name.
func ParseScope(name string) (Scopes, bool) {
	for i, one := range names {
		if one == name {
			return 1 << i, true
		}
	}
	return 0, false
}
