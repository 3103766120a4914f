// Package token keeps the API tokens that open the HTTP service.
//
// It guarantees that no token is stored anywhere: the file holds only their SHA-256, which suffices, since a
// token is 256 random bits and cannot be guessed from its hash. The file is replaced in one step, under a
// lock, and checked on every request, so a token that is revoked ends at once, in a running server too.
package token

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/server/identity"
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
	// ErrUnauthorized says that a token is none of the file's, or has expired.
	ErrUnauthorized = identity.ErrUnauthorized
	// ErrDamaged says that the token file cannot be understood. Nobody gets in, and it is not written to.
	ErrDamaged = errors.New("the token file is damaged: without it, the next start makes a new first token")
	// ErrNoToken says that no token has the id.
	ErrNoToken = errors.New("no token has that id: `coffer token list` shows them")
	// ErrGrant says that a token cannot be made so.
	ErrGrant = errors.New("a token takes a name of up to 100 printable characters, a tenant, at least one scope and no negative lifetime; " +
		"one for every tenant (*) takes keys:admin, audit:read and metrics:read only")
	// ErrFull says that there are as many tokens as there may be.
	ErrFull = errors.New("there are 1000 tokens: revoke some")
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
	ID         string          `json:"id"` // names it in list, revoke and the audit; opens nothing
	Name       string          `json:"name,omitempty"`
	Tenant     string          `json:"tenant"`
	Scopes     identity.Scopes `json:"-"` // the file has their names
	CreatedAt  time.Time       `json:"createdAt"`
	ExpiresAt  time.Time       `json:"expiresAt,omitzero"`  // zero: never
	LastUsedAt time.Time       `json:"lastUsedAt,omitzero"` // the hour that it was last used in; zero: not yet
}

// entry is a token of the file.
type entry struct {
	Token
	hash [sha256.Size]byte
}

// first is the grant of a first start's token.
var first = Grant{Name: "first start", Tenant: identity.DefaultTenant, Scopes: identity.AllScopes}

// Check returns ErrGrant if no token can be made so.
func (g *Grant) Check() error {
	printable := strings.IndexFunc(g.Name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	if !printable || !utf8.ValidString(g.Name) || utf8.RuneCountInString(g.Name) > maxName ||
		!identity.ValidGrant(g.Tenant, g.Scopes) || g.Scopes == 0 || g.Lifetime < 0 {
		return ErrGrant
	}
	return nil
}

// generate makes a token; the text is to be had this once.
func generate(g Grant, now time.Time) (text string, e entry) {
	var b [size + idSize]byte
	_, _ = rand.Read(b[:]) // never fails: package crypto/rand
	text = Prefix + base64.RawURLEncoding.EncodeToString(b[:size])
	now = now.UTC().Truncate(time.Second)
	e.Token = Token{ID: hex.EncodeToString(b[size:]), Name: g.Name, Tenant: g.Tenant, Scopes: g.Scopes, CreatedAt: now}
	if g.Lifetime > 0 {
		e.ExpiresAt = now.Add(g.Lifetime)
	}
	e.hash = sha256.Sum256([]byte(text))
	return text, e
}

// Authenticate implements identity.Authenticator. The time that it takes does not depend on how much of the
// bearer's text matches a token. Without a file no token is in force. An error other than ErrUnauthorized
// means that the file could not be read.
func (f *File) Authenticate(_ context.Context, bearer string) (identity.Identity, error) {
	if len(bearer) != length || !strings.HasPrefix(bearer, Prefix) {
		return identity.Identity{}, ErrUnauthorized
	}
	entries, err := f.current()
	if errors.Is(err, fs.ErrNotExist) {
		return identity.Identity{}, ErrUnauthorized
	}
	if err != nil {
		return identity.Identity{}, err
	}
	now := f.now()
	e := find(entries, sha256.Sum256([]byte(bearer)))
	if e == nil || !e.ExpiresAt.IsZero() && !now.Before(e.ExpiresAt) {
		return identity.Identity{}, ErrUnauthorized
	}
	f.used(e, now)
	return identity.Identity{
		Issuer: identity.APIToken, Subject: e.ID, Tenant: e.Tenant, Scopes: e.Scopes, Expires: e.ExpiresAt,
	}, nil
}

// find compares with all of them, whichever it is.
func find(entries []entry, hash [sha256.Size]byte) *entry {
	at := -1
	for i := range entries {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(entries[i].hash[:], hash[:]), i, at)
	}
	if at < 0 {
		return nil
	}
	return &entries[at]
}
