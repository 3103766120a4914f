// Package codes is the one table of error codes: Go errors, TypeScript errors and HTTP problems carry the
// same ones, for ever.
//
// An error states its code by a method Code() string; [Of] finds it. TypeScript's table
// (web/src/core/codes.gen.ts) and docs/errors.md are generated from this one, and a test holds them equal. The
// position in Table is the number by which the WebAssembly core names an error to its shell; it is private to
// one build.
package codes

//go:generate go run ./gen

// Info is one row of the table.
type Info struct {
	Code    string
	Meaning string // what happened and what to do, one sentence
	Status  int    // HTTP status (RFC 9110)
	Retry   bool   // the same call may succeed later
}

// Internal is the row of whatever carries no code.
const Internal = "internal"

// Core lists the codes that the browser's core can name, which are the first of Table: its shell has the names of no others.
// The list is apart from Table because the core does without the meanings.
var Core = [...]string{
	Internal, "invalid_argument", "malformed", "unsupported_version", "too_large", "kdf_out_of_range", "wrong_secret", "unknown_key",
	"key_destroyed", "key_unusable", "authentication_failed", "class_too_low", "closed",
}

// Table lists every code. Rows are added, never removed or renamed.
var Table = []Info{
	{Internal, "Something failed that should not have; the server's log has the request id.", 500, false},
	{"invalid_argument", "An argument is not valid; the message names it.", 400, false},
	{"malformed", "The bytes are not a package, keyset or request of this format.", 400, false},
	{"unsupported_version", "The package was written by another version of the format; update Coffer.", 400, false},
	{"too_large", "A value, name, context or document is over its limit.", 413, false},
	{"kdf_out_of_range", "The PBKDF2 iterations are below the class's floor or above the ceiling.", 400, false},
	{"wrong_secret", "The password, master key or slot secret does not open this vault, keyset or package.", 403, false},
	{"unknown_key", "The package was sealed under a key that this keyset does not have.", 409, false},
	{"key_destroyed", "The key that sealed this package was destroyed; the value cannot be recovered.", 410, false},
	{"key_unusable", "The key is in no state to be used this way.", 409, false},
	{"authentication_failed", "The package was altered, moved or forged; nothing of it was returned.", 422, false},
	{"class_too_low", "The package's classification is lower than the reader demands.", 403, false},
	{"closed", "The store was closed.", 409, false},
	{"ttl_out_of_range", "The time to live is longer than the class allows.", 400, false},
	{"locked", "The store is locked; unlock it first.", 423, false},
	{"not_configured", "No key source is configured; call configure() or pass the unlock option.", 500, false},
	{"quota_exceeded", "The storage quota, of the browser or of the tenant, is used up; the earlier value is still in place. Delete something first.", 507, false},
	{"database_blocked", "Another tab holds an older connection to the database; close it.", 503, true},
	{"connection_lost", "The connection to the database was lost and could not be opened again.", 503, true},
	{"wasm_unavailable", "The WebAssembly core could not be loaded; check its URL and the content security policy.", 500, false},
	{"webcrypto_unavailable", "WebCrypto is missing: the page needs a secure context (HTTPS or localhost).", 500, false},
	{"indexeddb_unavailable", "IndexedDB is missing or refused here.", 500, false},
	{"not_found", "There is nothing under that name.", 404, false},
	{"unauthorized", "The bearer token is missing, wrong, revoked or expired.", 401, false},
	{"method_not_allowed", "The path does not support that method.", 405, false},
	{"timeout", "The operation took longer than its time limit.", 504, true},
	{"store_unavailable", "The backing store cannot be reached or refuses to work; a write may or may not have arrived.", 503, true},
	{"keyring_unavailable", "The tenant's keys cannot be read or unwrapped.", 503, true},
	{"forbidden", "The token is good, but lacks the scope that the operation takes.", 403, false},
	{"rate_limited", "Too many requests, or too many wrong tokens; wait as long as Retry-After says.", 429, true},
	{"identity_unavailable", "The identity provider's keys cannot be had; nothing was decided about the token.", 503, true},
	{"audit_unavailable", "The audit log cannot be written, and without it no key is used and no value is opened.", 503, true},
	{"precondition_failed", "The entry is not the one that If-Match or If-None-Match asks for, or the confirmation is not of what is there now; nothing was changed.", 412, false},
	{"shutting_down", "The server is shutting down; ask another one, or this one again later.", 503, true},
	{"encryption_disabled", "ENCRYPTION_ENABLED is false where the value was written and not where it is read, or the other way round; packages are refused where it is false.", 409, false},
	{"kms_denied", "The key management service refuses the server's credentials, or its policy does; the server's log says what to check.", 503, false},
	{"kms_throttled", "The key management service takes no more calls for now.", 503, true},
	{"kms_key_unusable", "The KMS key is disabled or deleted, or another one now has its name; the server's log says which.", 503, false},
	{"unreachable", "The server cannot be reached, or the connection to it failed; a write may or may not have arrived.", 503, true},
	{"cache_not_shared", "Servers that share keysets do not use the same cache, or their clocks differ by 15 minutes: no key is destroyed before that is mended.", 503, true},
	{"audit_almost_full", "The audit log has used 80 % of its budget; raise COFFER_AUDIT_BUDGET or keep fewer files, before no key can be used any more.", 503, true},
	{"storage_full", "The disk or the memory of the store is full: nothing new is stored, while reads and deletions go on.", 507, false},
	{"store_evicts", "The Redis of the cache or of the keysets removes entries when its memory is full: set its maxmemory-policy to noeviction, and give it enough memory.", 503, true},
	{"unknown_route", "The server has no such path: the base URL is not the server's, or the server is an earlier one.", 404, false},
}

// Error is an error with a code of the table, for packages that have no error type of their own. Its fields
// are set in a literal when a sentinel is declared, and never after; a test holds every sentinel's code to
// the table.
type Error struct{ Of, Text string }

func (e *Error) Error() string { return "coffer: " + e.Text }

// Code returns the error's stable code.
func (e *Error) Code() string { return e.Of }

// Number returns a code's position in Table; -1 if it has none.
func Number(code string) int {
	for i := range Table {
		if Table[i].Code == code {
			return i
		}
	}
	return -1
}

// Of returns the row of the first error in err's tree that states a code; the row of Internal if none does.
func Of(err error) Info { return Table[max(0, Number(find(err)))] }

// find does what errors.As would, without the reflection that package errors would bring into the browser's core.
func find(err error) (code string) {
	switch e := err.(type) {
	case interface{ Code() string }:
		return e.Code()
	case interface{ Unwrap() error }:
		return find(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if code = find(one); code != "" {
				return code
			}
		}
	}
	return ""
}
