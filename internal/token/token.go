// Package token keeps the API tokens that open the HTTP service.
//
// It guarantees that no token is stored anywhere: its document in the keystore has only its SHA-256, which suffices,
// because a token is 256 random bits and cannot be guessed from its hash. Each document has a MAC under a key of the
// environment's system document, so a document that was altered, added, moved to another name or copied from another
// environment opens nothing. Anybody who can use the KEK can make tokens.
//
// [Registry] makes, lists and revokes tokens. [Tokens] is for servers: it holds all tokens in memory and follows the
// keystore, so a request reads neither the keystore nor a file. A change reaches every server within three seconds.
//
// A revocation replaces the document by a tombstone. A server that saw one never accepts the token again, and writes the
// tombstone again if the keystore loses it. A server that starts after the whole keystore was put back to an earlier state
// cannot notice that; `coffer audit verify` does ([Registry.Compare]).
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

// Prefix begins every token, so that scanners for leaked secrets know one.
const Prefix = "coffer_"

const (
	size    = 32 // random bytes of a token
	idSize  = 8  // random bytes of an id
	maxName = 100
)

// length is every token's, in characters.
var length = len(Prefix) + base64.RawURLEncoding.EncodedLen(size)

var (
	// ErrUnauthorized reports that a token is unknown, revoked or expired.
	ErrUnauthorized = identity.ErrUnauthorized
	// ErrAltered reports that a token's document does not authenticate.
	ErrAltered = &codes.Error{Of: "authentication_failed", Text: "the token's document is not as it was written"}
	// ErrNoToken reports that no token in the keystore has the id.
	ErrNoToken = errors.New("no token has that id: `coffer token list` shows them")
	// ErrGrant reports that no token can be made for the grant.
	ErrGrant = errors.New("a token takes a name of up to 100 printable characters, a tenant, at least one scope and no negative lifetime; " +
		"one for every tenant (*) takes keys:admin, audit:read and metrics:read only")
)

// Grant is what a new token is for.
type Grant struct {
	Name     string // for the operator, who it is given to; may be empty
	Tenant   string
	Scopes   identity.Scopes
	Lifetime time.Duration // 0: until it is revoked
}

// Token is what is known of a token. The token itself is not.
type Token struct {
	ID         string // names it in list, revoke and the audit log; opens nothing
	Name       string
	Tenant     string
	Scopes     identity.Scopes
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: it was not revoked
	LastUsedAt time.Time // the hour that it was last used in, which is not authenticated; zero: not yet
	Altered    bool      // its document does not authenticate: it is not in force, and only ID is known
}

// Expired reports whether the token's lifetime is over.
func (t *Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }

// entry is a token with the hash by which it is found. A tombstone has none.
type entry struct {
	Token
	hash [sha256.Size]byte
}

// due returns when the document is to be deleted, in milliseconds since 1970; 0 means never.
func (e *entry) due() int64 {
	if e.ExpiresAt.IsZero() {
		return 0
	}
	return max(e.ExpiresAt.UnixMilli(), 1)
}

// buried returns the token's tombstone.
func (e *entry) buried(now time.Time) *entry {
	t := &entry{Token: e.Token}
	t.RevokedAt = now.UTC().Truncate(time.Millisecond)
	return t
}

// first is the grant of a first start's token.
var first = Grant{Name: "first start", Tenant: identity.DefaultTenant, Scopes: identity.AllScopes}

// Check returns ErrGrant if no token can be made for the grant.
func (g *Grant) Check() error {
	printable := strings.IndexFunc(g.Name, func(r rune) bool { return !unicode.IsPrint(r) || identity.IsInvisible(r) }) < 0
	if !printable || !utf8.ValidString(g.Name) || utf8.RuneCountInString(g.Name) > maxName ||
		!identity.ValidGrant(g.Tenant, g.Scopes) || g.Scopes == 0 || g.Lifetime < 0 {
		return ErrGrant
	}
	return nil
}

// generate draws a token. Its text is returned this once.
func generate(g Grant, now time.Time) (text string, e *entry) {
	var b [size + idSize]byte
	_, _ = rand.Read(b[:]) // never fails: package crypto/rand
	text = Prefix + base64.RawURLEncoding.EncodeToString(b[:size])
	now = now.UTC().Truncate(time.Millisecond)
	e = &entry{Token: Token{ID: hex.EncodeToString(b[size:]), Name: g.Name, Tenant: g.Tenant, Scopes: g.Scopes, CreatedAt: now}}
	if g.Lifetime > 0 {
		e.ExpiresAt = now.Add(g.Lifetime)
	}
	e.hash = sha256.Sum256([]byte(text))
	return text, e
}
