package kv

import (
	"net/url"
	"strings"
)

// Root begins every key of tenant data: coffer/OWNER/COLLECTION/NAME. The owner is escaped as a path segment, so no
// owner's prefix begins with another's; the name is kept as it is. No part is a hash tag, because the entries of
// one owner must be able to fill a whole Redis Cluster (docs/choices.md).
const TenantPrefix = "coffer/"

// OwnerPrefix returns the prefix of all keys of an owner.
func OwnerPrefix(owner string) string { return TenantPrefix + url.PathEscape(owner) + "/" }

// Prefix returns the prefix of the keys of an owner's collection. The collection must not contain a slash.
func Prefix(owner, collection string) string { return OwnerPrefix(owner) + collection + "/" }

// OwnerOf returns the prefix of the owner of a key, as OwnerPrefix does. It is empty for a key without an
// owner: its bytes count for no tenant.
func OwnerPrefixOf(key string) string {
	rest, ok := strings.CutPrefix(key, TenantPrefix)
	if n := strings.IndexByte(rest, '/'); ok && n > 0 {
		return key[:len(TenantPrefix)+n+1]
	}
	return ""
}

// SplitKey returns the parts of a key that begins with a Prefix. It reports false for every other key.
func SplitKey(key string) (owner, collection, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, TenantPrefix)
	if !ok {
		return "", "", "", false
	}
	escaped, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return "", "", "", false
	}
	collection, name, ok = strings.Cut(rest, "/")
	if !ok {
		return "", "", "", false
	}
	owner, err := url.PathUnescape(escaped)
	if err != nil || url.PathEscape(owner) != escaped { // another spelling is another key
		return "", "", "", false
	}
	return owner, collection, name, true
}
