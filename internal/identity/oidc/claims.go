package oidc

import (
	"strings"

	"github.com/coffer-storage/coffer/internal/identity"
)

// claimPath is the path to a claim: the names of the nested objects and of the claim.
type claimPath []string

// parsePath parses the name of a claim, or a JSON pointer (RFC 6901) to a nested claim such as /realm_access/roles. A
// name must not begin with a slash. parsePath returns nil if the text is invalid.
func parsePath(text string) claimPath {
	if text == "" {
		return nil
	}
	if text[0] != '/' {
		return claimPath{text}
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

// find returns the claim's value, or nil if it is missing.
func (p claimPath) find(claims map[string]any) any {
	var at any = claims
	for _, step := range p {
		object, _ := at.(map[string]any)
		at = object[step]
	}
	return at
}

// readScopes reads scopes from a string, separated by spaces (RFC 8693 section 4.2), or from a list of strings. It
// ignores unknown names, because they may be for other servers. A missing claim is the empty set.
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
