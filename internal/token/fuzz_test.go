package token_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

func FuzzAuthenticate(f *testing.F) {
	site, _ := newMemorySite(f)
	s := site.server(f)
	made, _ := issue(f, s.Registry, readGrant)
	for _, seed := range []string{"", token.Prefix, made, made[:20], token.Prefix + made[:43]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, bearer string) {
		_, err := s.Authenticate(t.Context(), bearer)
		require.Equal(t, bearer == made, err == nil)
		require.True(t, err == nil || errors.Is(err, identity.ErrUnauthorized))
	})
}

// A record is either refused, or has the same value after it is encoded and parsed again.
func FuzzRecord(f *testing.F) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	one := token.Token{ID: "0123456789abcdef", Name: "a<b", Tenant: "Ñ/..", Scopes: identity.AllScopes, CreatedAt: created, ExpiresAt: created.Add(time.Hour)}
	f.Add(token.Record(one, sha256.Sum256(nil)))
	one.RevokedAt = created
	f.Add(token.Record(one, [32]byte{}))
	f.Add(token.Record(one, sha256.Sum256(nil)))
	f.Add([]byte(`{"id":"x","scopes":[],"revokedAt":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"id":"","scopes":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, hash, err := token.Parse(text)
		if err != nil {
			require.ErrorIs(t, err, token.ErrAltered)
			return
		}
		require.NotEmpty(t, parsed.ID)
		require.Equal(t, parsed.RevokedAt.IsZero(), hash != [32]byte{})
		again, same, err := token.Parse(token.Record(parsed, hash))
		if err == nil { // a name that is not UTF-8 cannot come from a grant
			require.Equal(t, hash, same)
			require.Equal(t, parsed.Scopes, again.Scopes)
			require.True(t, parsed.ExpiresAt.Equal(again.ExpiresAt))
		}
	})
}

// A server survives any document.
func FuzzDocument(f *testing.F) {
	site, store := newMemorySite(f)
	made, known := issue(f, site.registry(), readGrant)
	good := document(f, store, known.ID)
	for _, seed := range []string{"{}", `{"token":{},"key":"","mac":""}`, string(good)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) == 0 || len(content) > keystore.MaxDocument {
			return
		}
		keystoretest.Put(t, store, keystore.Tokens, known.ID, content)
		s := site.server(t)
		_, err := s.Authenticate(context.Background(), made)
		require.Equal(t, string(content) == string(good), err == nil)
	})
}
