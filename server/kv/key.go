package kv

import (
	"net/url"
	"strings"
)

// TenantPrefix begins every key of tenant data, which is coffer/OWNER/COLLECTION/NAME. The owner is escaped as a path
// segment, so the prefixes of two owners never overlap. The name is not escaped. No part is a hash tag, because the
// entries of one owner must be able to spread over all nodes of a Redis Cluster (docs/choices.md).
const TenantPrefix = "coffer/"

// OwnerPrefix returns the prefix of all keys of an owner.
func OwnerPrefix(owner string) string { return TenantPrefix + url.PathEscape(owner) + "/" }

// Prefix returns the prefix of the keys of an owner's collection. The collection must not contain a slash.
func Prefix(owner, collection string) string { return OwnerPrefix(owner) + collection + "/" }

// OwnerPrefixOf returns the OwnerPrefix of the owner of a key. It is empty if the key has no owner; such keys count for
// no quota.
func OwnerPrefixOf(key string) string {
	rest, ok := strings.CutPrefix(key, TenantPrefix)
	if n := strings.IndexByte(rest, '/'); ok && n > 0 {
		return key[:len(TenantPrefix)+n+1]
	}
	return ""
}

// SplitKey splits a key that begins with a Prefix into its owner, collection and name. It returns false for any other
// key.
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
	if err != nil || url.PathEscape(owner) != escaped { // a different escaping of the same owner is a different key
		return "", "", "", false
	}
	return owner, collection, name, true
}
