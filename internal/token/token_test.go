package token_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/codes"
)

// Only the start that makes the environment's key for tokens makes a first token, even if all tokens were removed
// since.
func TestOnlyFirstStartMakesToken(t *testing.T) {
	site, store := newMemorySite(t)
	s := site.server(t)
	s.requireRefused(t, token.Prefix+strings.Repeat("A", 43))

	first, known, err := s.CreateFirst(context.Background(), discardAudit)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(first, token.Prefix))
	random, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(first, token.Prefix))
	require.NoError(t, err)
	require.Len(t, random, 32)
	id, err := s.Authenticate(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, identity.Identity{Issuer: "coffer", Subject: known.ID, Tenant: "default", Scopes: identity.AllScopes}, id)

	again := site.server(t)
	second, _, err := again.CreateFirst(context.Background(), discardAudit)
	require.NoError(t, err)
	require.Empty(t, second, "the first token is made once")
	again.requireAccepted(t, first)

	revoke(t, again.Registry, known.ID)
	store.LoseDocuments(keystore.Tokens, known.ID)
	third, _, err := site.server(t).CreateFirst(context.Background(), discardAudit)
	require.NoError(t, err)
	require.Empty(t, third, "the environment is not new")
}

// If several servers start at the same time, one of them makes a token, and all accept it.
func TestConcurrentStartsMakeOneToken(t *testing.T) {
	site, store := newMemorySite(t)
	made := make([]string, 8)
	var wg sync.WaitGroup
	for i := range made {
		s := newSite(t, store).server(t)
		wg.Go(func() {
			first, _, err := s.CreateFirst(context.Background(), discardAudit)
			if err == nil {
				made[i] = first
			}
		})
	}
	wg.Wait()
	one := strings.Join(made, "")
	require.Len(t, one, len(token.Prefix)+43)
	site.server(t).requireAccepted(t, one)
}

func TestTokenHasItsGrant(t *testing.T) {
	site, _ := newMemorySite(t)
	first, _ := issue(t, site.registry(), readGrant)
	second, made := issue(t, site.registry(), token.Grant{Tenant: "Ñ/..", Scopes: identity.KeysAdmin | identity.AuditRead, Lifetime: time.Hour})
	require.NotEqual(t, first, second)

	s := site.server(t)
	id, err := s.Authenticate(t.Context(), second)
	require.NoError(t, err)
	require.Equal(t, identity.Identity{
		Issuer: "coffer", Subject: made.ID, Tenant: "Ñ/..", Scopes: identity.KeysAdmin | identity.AuditRead, Expires: made.ExpiresAt,
	}, id)
	require.WithinDuration(t, time.Now().Add(time.Hour), made.ExpiresAt, time.Minute)

	tokens := list(t, s.Registry)
	require.Len(t, tokens, 2)
	require.True(t, tokens[0].ExpiresAt.IsZero() || tokens[1].ExpiresAt.IsZero())
	require.Contains(t, tokens, made)
}

func TestInvalidGrantsAreRefused(t *testing.T) {
	site, store := newMemorySite(t)
	for name, change := range map[string]func(*token.Grant){
		"no tenant":       func(g *token.Grant) { g.Tenant = "" },
		"a long tenant":   func(g *token.Grant) { g.Tenant = strings.Repeat("x", 256) },
		"no scope":        func(g *token.Grant) { g.Scopes = 0 },
		"in the past":     func(g *token.Grant) { g.Lifetime = -1 },
		"a long name":     func(g *token.Grant) { g.Name = strings.Repeat("x", 101) },
		"a terminal's":    func(g *token.Grant) { g.Name = "\x1b[2J" },
		"invisible":       func(g *token.Grant) { g.Name = "a\ufe0f" },
		"two lines":       func(g *token.Grant) { g.Name = "a\nb" },
		"no UTF-8":        func(g *token.Grant) { g.Name = "\xff" },
		"a tenant's UTF8": func(g *token.Grant) { g.Tenant = "\xff" },
		"everyone's data": func(g *token.Grant) { g.Tenant, g.Scopes = identity.EveryTenant, identity.AuditRead|identity.CacheRead },
	} {
		g := readGrant
		change(&g)
		_, _, err := site.registry().Issue(context.Background(), g, discardAudit)
		require.ErrorIs(t, err, token.ErrGrant, name)
	}
	for range keystore.All(t.Context(), store, keystore.Tokens) {
		t.Fatal("a token was made")
	}
}

// The document of the longest grant is not too long to be read.
func TestLongestGrantFitsDocument(t *testing.T) {
	site, _ := newMemorySite(t)
	longest := token.Grant{Name: strings.Repeat("<", 100), Tenant: strings.Repeat("<", 255), Scopes: identity.AllScopes, Lifetime: time.Hour}
	text, _ := issue(t, site.registry(), longest)
	site.server(t).requireAccepted(t, text)
}

func TestKeystoreContainsNoToken(t *testing.T) {
	site, store := newMemorySite(t)
	made, known := issue(t, site.registry(), readGrant)
	content := string(document(t, store, known.ID))
	require.NotContains(t, content, strings.TrimPrefix(made, token.Prefix))
	hash := sha256.Sum256([]byte(made))
	require.Contains(t, content, hex.EncodeToString(hash[:]))
	revoke(t, site.registry(), known.ID)
	require.NotContains(t, string(document(t, store, known.ID)), hex.EncodeToString(hash[:]))
}

func TestWrongTokensAreRefused(t *testing.T) {
	site, _ := newMemorySite(t)
	s := site.server(t)
	made, known := issue(t, s.Registry, readGrant)
	other := made[:len(made)-1] + string(made[len(made)-1]^1)
	for _, wrong := range []string{"", " ", token.Prefix, made[:len(made)-1], made + "x", " " + made, strings.ToUpper(made), made[len(token.Prefix):],
		other, known.ID, token.Prefix + strings.Repeat("A", 43), strings.Repeat("x", len(made)), strings.Repeat("x", 1<<20)} {
		s.requireRefused(t, wrong)
	}
	_, err := s.Authenticate(t.Context(), "x")
	require.Equal(t, "unauthorized", codes.Of(err).Code)
	s.requireAccepted(t, made)
}

func TestExpiredTokenIsRefusedAndDeleted(t *testing.T) {
	site, _ := newMemorySite(t)
	s := site.server(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.SetClock(func() time.Time { return now })
	brief := readGrant
	brief.Lifetime = time.Minute
	made, known := issue(t, s.Registry, brief)
	require.Equal(t, now.Add(time.Minute), known.ExpiresAt)
	now = now.Add(time.Minute - 1)
	s.requireAccepted(t, made)
	require.Equal(t, token.Counts{Live: 1, Expiring: 1}, s.Counts())
	now = now.Add(1)
	s.requireRefused(t, made)
	require.Equal(t, token.Counts{Expired: 1}, s.Counts())
	require.Len(t, list(t, s.Registry), 1, "an expired token is listed until it is deleted")
	s.Expire(t.Context())
	require.Empty(t, list(t, s.Registry))
	s.poll(t)
	require.Zero(t, s.Counts())
	require.Empty(t, s.audit.take())
}
