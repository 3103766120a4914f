// Package codes defines the error codes of Coffer. Go errors, TypeScript errors and HTTP problems carry the same
// codes, and a code is never renamed or removed.
//
// An error states its code with a method Code() string, and [Of] finds it. The TypeScript list
// (web/src/core/codes.gen.ts) and docs/errors.md are generated from [Table]; a test compares them.
package codes

//go:generate go run ./gen

// Info is one row of the table.
type Info struct {
	Code    string // lower-case words joined by underscores
	Meaning string // what happened and what to do, as one or two sentences
	Status  int    // HTTP status (RFC 9110)
	Retry   bool   // whether the same call may succeed later
}

// Internal is the code of an error that states no code of its own.
const Internal = "internal"

// Core lists the codes that the browser's core can return. They are the first rows of Table, in the same order: the core
// returns a code as its position, which is private to one build. The list is separate because the core does without the
// meanings.
var Core = [...]string{
	Internal, "invalid_argument", "malformed", "unsupported_version", "too_large", "kdf_out_of_range", "wrong_secret", "unknown_key",
	"key_destroyed", "key_unusable", "authentication_failed", "class_too_low", "closed",
}

// Table lists every code. Rows may be added, but not removed or renamed.
var Table = []Info{
	{Internal, "An unexpected error occurred; the server's log has the details under the request id.", 500, false},
	{"invalid_argument", "An argument is not valid; the message names it.", 400, false},
	{"malformed", "The bytes are not a package, keyset or request in Coffer's format.", 400, false},
	{"unsupported_version", "The package was written in another version of the format; update Coffer to read it.", 400, false},
	{"too_large", "A value, name, context or document exceeds its limit.", 413, false},
	{"kdf_out_of_range", "The number of PBKDF2 iterations is below the minimum of the class or above the maximum.", 400, false},
	{"wrong_secret", "The password, master key or slot secret does not open this vault, keyset or package.", 403, false},
	{"unknown_key", "The package was sealed under a key that this keyset does not contain.", 409, false},
	{"key_destroyed", "The key that sealed this package was destroyed; the value cannot be recovered.", 410, false},
	{"key_unusable", "The key cannot be used in this way; for example, it is disabled, or there is no enabled primary key.", 409, false},
	{"authentication_failed", "The package was altered, moved or forged; no part of the value was returned.", 422, false},
	{"class_too_low", "The package's classification is below the minimum that the reader requires.", 403, false},
	{"closed", "The store is closed.", 409, false},
	{"ttl_out_of_range", "The time to live is longer than the class allows.", 400, false},
	{"locked", "The store is locked; unlock it first.", 423, false},
	{"not_configured", "No key source is configured; call configure() or pass the unlock option.", 500, false},
	{"quota_exceeded", "The storage quota of the browser or tenant is used up, and the earlier value was kept; delete entries first.", 507, false},
	{"database_blocked", "Another tab holds an older connection to the database; close that tab.", 503, true},
	{"connection_lost", "The connection to the database was lost and could not be reopened.", 503, true},
	{"wasm_unavailable", "The WebAssembly core could not be loaded; check its URL and the content security policy.", 500, false},
	{"webcrypto_unavailable", "WebCrypto is missing; serve the page over HTTPS or from localhost.", 500, false},
	{"indexeddb_unavailable", "IndexedDB is missing, or the browser denies access to it.", 500, false},
	{"not_found", "There is no entry under that name.", 404, false},
	{"unauthorized", "The bearer token is missing, wrong, revoked or expired.", 401, false},
	{"method_not_allowed", "The path does not support that method.", 405, false},
	{"timeout", "The operation exceeded its time limit.", 504, true},
	{"store_unavailable", "The store cannot be reached or refuses requests; a write may or may not have been applied.", 503, true},
	{"keyring_unavailable", "The tenant's keys cannot be read or unwrapped.", 503, true},
	{"forbidden", "The token is valid but lacks the scope that the operation requires.", 403, false},
	{"rate_limited", "There were too many requests or too many wrong tokens; wait as long as Retry-After says.", 429, true},
	{"identity_unavailable", "The identity provider's keys cannot be fetched, so the token was neither accepted nor refused.", 503, true},
	{"audit_unavailable", "The audit log cannot be written; until it can, the server uses no key and opens no value.", 503, true},
	{"precondition_failed", "The entry does not match If-Match or If-None-Match, or the confirmation does not match the present state; nothing was changed.", 412, false},
	{"shutting_down", "The server is shutting down; retry later or on another server.", 503, true},
	{"encryption_disabled", "ENCRYPTION_ENABLED differs between the server that wrote the value and this one, or the request needs keys while it is false.", 409, false},
	{"kms_denied", "The key management service denied access because of the server's credentials or its policy; the server's log says what to check.", 503, false},
	{"kms_throttled", "The key management service is rate limiting the server.", 503, true},
	{"kms_key_unusable", "The KMS key is disabled or deleted, or its name now belongs to another key; the server's log says which.", 503, false},
	{"unreachable", "The server cannot be reached, or the connection failed; a write may or may not have been applied.", 503, true},
	{"cache_not_shared", "Servers that share keysets use different caches, or their clocks differ by 15 minutes or more; no key is destroyed until this is fixed.", 503, true},
	{"audit_almost_full", "The audit log has used 80 % of its budget; raise COFFER_AUDIT_BUDGET or keep fewer files, before the log is full and every key is unusable.", 503, true},
	{"storage_full", "The store's disk or memory is full; it accepts no new values, but reads and deletions still work.", 507, false},
	{"store_evicts", "The Redis server of the cache or of the keysets evicts entries when its memory is full; set its maxmemory-policy to noeviction and give it enough memory.", 503, true},
	{"unknown_route", "The server has no such path; check the base URL and the server's version.", 404, false},
}

// Error is an error with a code of the table. Packages declare their sentinel errors as literals of it:
//
//	var ErrLocked = &codes.Error{ErrorCode: "locked", Message: "the store is locked"}
//
// A test checks that the code of every such literal is in the table.
type Error struct {
	ErrorCode string // a code of Table
	Message   string // without the prefix "coffer: "
}

// Error returns the message after "coffer: ".
func (e *Error) Error() string { return "coffer: " + e.Message }

// Code returns the error's stable code.
func (e *Error) Code() string { return e.ErrorCode }

// Number returns the position of a code in Table, or -1 if the table does not contain it.
func Number(code string) int {
	for i := range Table {
		if Table[i].Code == code {
			return i
		}
	}
	return -1
}

// Of returns the row of the first error in err's tree that states a code. It returns the row of Internal if no error
// states one, if the code is not in the table, or if err is nil.
func Of(err error) Info { return Table[max(0, Number(findCode(err)))] }

// findCode walks err's tree as errors.As does, without the reflection that package errors would add to the browser's core.
func findCode(err error) (code string) {
	switch e := err.(type) { //nolint:errorlint // this is the walk
	case interface{ Code() string }:
		return e.Code()
	case interface{ Unwrap() error }:
		return findCode(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if code = findCode(one); code != "" {
				return code
			}
		}
	}
	return ""
}
