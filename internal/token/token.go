// Package token manages the API tokens of the HTTP service.
//
// No token is stored anywhere. A token's document in the keystore contains only its SHA-256. That is sufficient,
// because a token has 256 random bits and cannot be guessed from its hash. Each document has a MAC under a key of the
// environment's system document. A document that was altered, added, renamed or copied from another environment
// therefore grants nothing. Anyone who can use the KEK can make tokens.
//
// [Registry] makes, lists and revokes tokens. [Authenticator] is for servers: it holds all tokens in memory and follows
// changes of the keystore, so a request reads neither the keystore nor a file. A change reaches every running server
// within three seconds.
//
// A revocation replaces the document by a tombstone. A server that has seen the tombstone never accepts the token
// again, and writes the tombstone again if it disappears from the keystore. If the whole keystore is replaced by an
// earlier copy, a server that starts afterwards cannot notice it, but `coffer audit verify` can ([Registry.Compare]).
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/shared/codes"
)

// Prefix begins every token, so that scanners for leaked secrets recognize it.
const tokenPrefix = "coffer_"

const (
	tokenSize = 32 // random bytes of a token
	idSize    = 8  // random bytes of an id
	maxName   = 100
)

// tokenLength is the number of characters of every token.
var tokenLength = len(tokenPrefix) + base64.RawURLEncoding.EncodedLen(tokenSize)

var (
	// errAltered reports that a token's document does not authenticate.
	errAltered = &codes.Error{ErrorCode: "authentication_failed", Message: "the token's document does not authenticate"}
	// ErrNoToken reports that no token in the keystore has the id.
	ErrNoToken = errors.New("no token has that id: `coffer token list` shows them")
	// ErrGrant reports that no token can be made for a grant.
	ErrGrant = errors.New("a token needs a tenant and at least one scope, a name of at most 100 printable characters and a lifetime that is not negative; " +
		"a token for every tenant (*) can only have keys:admin, audit:read and metrics:read")
)

// Grant describes a new token.
type Grant struct {
	Name     string // for people; may be empty
	Tenant   string
	Scopes   identity.Scopes
	Lifetime time.Duration // 0: the token does not expire
}

// Token describes a token. It does not contain the secret.
type Token struct {
	ID         string // identifies the token in lists, revocations and the audit log; not secret
	Name       string
	Tenant     string
	Scopes     identity.Scopes
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: not revoked
	LastUsedAt time.Time // hour of the last use, not authenticated; zero: never used
	Altered    bool      // the document does not authenticate: the token is not accepted, and only ID is known
}

// Expired reports whether the token has expired.
func (t *Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }

// storedToken is a token with its hash. A tombstone has no hash.
type storedToken struct {
	Token
	hash [sha256.Size]byte
}

// deleteAt returns when the document is deleted, in milliseconds since 1970; 0 means never.
func (e *storedToken) deleteAt() int64 {
	if e.ExpiresAt.IsZero() {
		return 0
	}
	return max(e.ExpiresAt.UnixMilli(), 1)
}

// tombstone returns the tombstone of the token, revoked now.
func (e *storedToken) tombstone(now time.Time) *storedToken {
	t := &storedToken{Token: e.Token}
	t.RevokedAt = now.UTC().Truncate(time.Millisecond)
	return t
}

// firstGrant describes the token that is made when a new environment starts for the first time.
var firstGrant = Grant{Name: "first start", Tenant: identity.DefaultTenant, Scopes: identity.AllScopes}

// Check returns ErrGrant if no token can be made for the grant.
func (g *Grant) Check() error {
	printable := strings.IndexFunc(g.Name, func(r rune) bool { return !unicode.IsPrint(r) || identity.IsInvisible(r) }) < 0
	if !printable || !utf8.ValidString(g.Name) || utf8.RuneCountInString(g.Name) > maxName ||
		!identity.ValidGrant(g.Tenant, g.Scopes) || g.Scopes == 0 || g.Lifetime < 0 {
		return ErrGrant
	}
	return nil
}

// generate makes a random token. Its text is not kept anywhere.
func generate(g Grant, now time.Time) (text string, e *storedToken) {
	var b [tokenSize + idSize]byte
	_, _ = rand.Read(b[:]) // never fails: package crypto/rand
	text = tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:tokenSize])
	now = now.UTC().Truncate(time.Millisecond)
	e = &storedToken{Token: Token{ID: hex.EncodeToString(b[tokenSize:]), Name: g.Name, Tenant: g.Tenant, Scopes: g.Scopes, CreatedAt: now}}
	if g.Lifetime > 0 {
		e.ExpiresAt = now.Add(g.Lifetime)
	}
	e.hash = sha256.Sum256([]byte(text))
	return text, e
}
