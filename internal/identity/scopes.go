package identity

import (
	"errors"
	"strings"
)

// Scopes is a set of permissions. The zero value is the empty set.
type Scopes uint8

// The scopes. Their names are a public contract. Their numbers are never stored.
const (
	CacheRead Scopes = 1 << iota
	CacheWrite
	PackageEncrypt
	PackageDecrypt
	KeysAdmin
	AuditRead
	MetricsRead

	AllScopes Scopes = 1<<iota - 1

	// AdminScopes are the scopes that do not give access to a tenant's data.
	AdminScopes = KeysAdmin | AuditRead | MetricsRead
)

// names are the names of the scopes, in the order of the constants.
var names = [...]string{"cache:read", "cache:write", "package:encrypt", "package:decrypt", "keys:admin", "audit:read", "metrics:read"}

// ErrScope reports that a name is not the name of a scope. It does not quote the name.
var ErrScope = errors.New("identity: unknown scope: use one of " + strings.Join(names[:], ", "))

// Has reports whether the set contains all needed scopes.
func (s Scopes) Has(needed Scopes) bool { return s&needed == needed }

// Names returns the names of the scopes in the set, in the order of the constants.
func (s Scopes) Names() []string {
	list := []string{}
	for i, name := range names {
		if s.Has(1 << i) {
			list = append(list, name)
		}
	}
	return list
}

// String returns the names, separated by spaces (RFC 6749 section 3.3).
func (s Scopes) String() string { return strings.Join(s.Names(), " ") }

// ParseScopes returns the set of the scopes with these names. It returns ErrScope if a name is unknown.
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

// ParseScope returns the scope with this name. ok is false if the name is unknown.
func ParseScope(name string) (Scopes, bool) {
	for i, one := range names {
		if one == name {
			return 1 << i, true
		}
	}
	return 0, false
}
