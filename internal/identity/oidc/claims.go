package oidc

import (
	"strings"

	"github.com/coffer-storage/coffer/internal/identity"
)

// path leads to a claim, through the objects that it lies in.
type path []string

// parsePath reads the name of a claim, which may hold any character but begin with no slash, or a JSON
// pointer (RFC 6901) to one inside another, such as /realm_access/roles. It returns nil for what is neither.
func parsePath(text string) path {
	if text == "" {
		return nil
	}
	if text[0] != '/' {
		return path{text}
	}
	steps := strings.Split(text[1:], "/")
	for i, step := range steps {
		plain := strings.ReplaceAll(strings.ReplaceAll(step, "~1", ""), "~0", "")
		if step == "" || strings.Contains(plain, "~") {
			return nil
		}
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
	}
	return steps
}

// find returns the claim's value; nil where there is none.
func (p path) find(claims map[string]any) any {
	var at any = claims
	for _, step := range p {
		object, _ := at.(map[string]any)
		at = object[step]
	}
	return at
}

// readScopes reads scopes from a text with spaces between (RFC 8693 section 4.2) or from a list. Names that
// are not this server's are for other servers, and none at all is the empty set.
func readScopes(claim any) (set identity.Scopes, ok bool) {
	switch claim := claim.(type) {
	case nil:
		return 0, true
	case string:
		for name := range strings.FieldsSeq(claim) {
			scope, _ := identity.ParseScope(name)
			set |= scope
		}
		return set, true
	case []any:
		for _, one := range claim {
			name, isText := one.(string)
			if !isText {
				return 0, false
			}
			scope, _ := identity.ParseScope(name)
			set |= scope
		}
		return set, true
	}
	return 0, false
}
