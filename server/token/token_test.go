package token_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/token"
	"github.com/coffer-storage/coffer/shared/codes"
)

// unrecorded is the log of tests in which it does not matter.
var unrecorded = token.Log{Recorder: audit.Discard}

// reader is a grant of little.
var reader = token.Grant{Name: "the reader's", Tenant: "clinic", Scopes: identity.CacheRead}

func issue(t testing.TB, f *token.File, g token.Grant) (string, token.Token) {
	t.Helper()
	text, made, err := f.Issue(context.Background(), g, unrecorded)
	require.NoError(t, err)
	return text, made
}

func requireRefused(t testing.TB, f *token.File, bearer string) {
	t.Helper()
	id, err := f.Authenticate(t.Context(), bearer)
	require.Equal(t, token.ErrUnauthorized, err, "nothing is added to it")
	require.Zero(t, id)
}

func TestFirstAndSecondStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "tokens.json")
	f := token.Open(path)
	requireRefused(t, f, token.Prefix+strings.Repeat("A", 43))

	first, known, err := f.CreateFirst(context.Background(), unrecorded)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(first, token.Prefix))
	random, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(first, token.Prefix))
	require.NoError(t, err)
	require.Len(t, random, 32)
	id, err := f.Authenticate(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, identity.Identity{Issuer: "coffer", Subject: id.Subject, Tenant: "default", Scopes: identity.AllScopes}, id)
	require.Equal(t, known.ID, id.Subject)

	again := token.Open(path)
	second, _, err := again.CreateFirst(context.Background(), unrecorded)
	require.NoError(t, err)
	require.Empty(t, second, "made once")
	requireHolds(t, again, first)

	revoked, err := again.Revoke(context.Background(), id.Subject, unrecorded)
	require.NoError(t, err)
	require.Equal(t, "default", revoked.Tenant)
	third, _, err := again.CreateFirst(context.Background(), unrecorded)
	require.NoError(t, err)
	require.Empty(t, third, "who revoked the last one meant it")
}

func TestGrantsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	f := token.Open(path)
	first, _ := issue(t, f, reader)
	second, made := issue(t, f, token.Grant{Tenant: "Ñ/..", Scopes: identity.KeysAdmin | identity.AuditRead, Lifetime: time.Hour})
	require.NotEqual(t, first, second)

	f = token.Open(path)
	id, err := f.Authenticate(t.Context(), second)
	require.NoError(t, err)
	require.Equal(t, identity.Identity{
		Issuer: "coffer", Subject: made.ID, Tenant: "Ñ/..", Scopes: identity.KeysAdmin | identity.AuditRead, Expires: made.ExpiresAt,
	}, id)
	require.WithinDuration(t, time.Now().Add(time.Hour), made.ExpiresAt, time.Minute)

	list, err := f.List()
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "the reader's", list[0].Name)
	require.True(t, list[0].ExpiresAt.IsZero())
	require.NotEqual(t, list[0].ID, list[1].ID)
	require.False(t, list[1].LastUsedAt.IsZero())
}

func TestBadGrants(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for name, change := range map[string]func(*token.Grant){
		"no tenant":       func(g *token.Grant) { g.Tenant = "" },
		"a long tenant":   func(g *token.Grant) { g.Tenant = strings.Repeat("x", 256) },
		"no scope":        func(g *token.Grant) { g.Scopes = 0 },
		"in the past":     func(g *token.Grant) { g.Lifetime = -1 },
		"a long name":     func(g *token.Grant) { g.Name = strings.Repeat("x", 101) },
		"a terminal's":    func(g *token.Grant) { g.Name = "\x1b[2J" },
		"two lines":       func(g *token.Grant) { g.Name = "a\nb" },
		"no UTF-8":        func(g *token.Grant) { g.Name = "\xff" },
		"a tenant's UTF8": func(g *token.Grant) { g.Tenant = "\xff" },
		"everyone's data": func(g *token.Grant) { g.Tenant, g.Scopes = identity.EveryTenant, identity.AuditRead|identity.CacheRead },
	} {
		g := reader
		change(&g)
		_, _, err := token.Open(path).Issue(context.Background(), g, unrecorded)
		require.ErrorIs(t, err, token.ErrGrant, name)
	}
	require.NoFileExists(t, path)
}

func TestOnlyTheHashIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	made, _ := issue(t, token.Open(path), reader)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(content), strings.TrimPrefix(made, token.Prefix))
	hash := sha256.Sum256([]byte(made))
	require.Contains(t, string(content), hex.EncodeToString(hash[:]))

	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 2, "the tokens and their lock: no temporary file stays")
	for _, file := range files {
		info, err := file.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
	}
}

func requireHolds(t *testing.T, f *token.File, text string) {
	t.Helper()
	_, err := f.Authenticate(t.Context(), text)
	require.NoError(t, err)
}

func TestWrongTokens(t *testing.T) {
	f := token.Open(filepath.Join(t.TempDir(), "tokens.json"))
	made, known := issue(t, f, reader)
	other := made[:len(made)-1] + string(made[len(made)-1]^1)
	for _, wrong := range []string{"", " ", token.Prefix, made[:len(made)-1], made + "x", " " + made, strings.ToUpper(made), made[len(token.Prefix):],
		other, known.ID, token.Prefix + strings.Repeat("A", 43), strings.Repeat("x", len(made)), strings.Repeat("x", 1<<20)} {
		requireRefused(t, f, wrong)
	}
	_, err := f.Authenticate(t.Context(), "x")
	require.Equal(t, "unauthorized", codes.Of(err).Code)
}

func TestUnwritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, _, err := token.Open(filepath.Join(path, "tokens.json")).Issue(context.Background(), reader, unrecorded)
	require.Error(t, err)
}

// TestConcurrentFirstStarts: of several servers that start in one directory, one prints a token, and it holds.
func TestConcurrentFirstStarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	made := make([]string, 16)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			first, _, err := token.Open(path).CreateFirst(context.Background(), unrecorded)
			if err == nil {
				made[i] = first
			}
		})
	}
	wg.Wait()
	one := strings.Join(made, "")
	require.Len(t, one, len(token.Prefix)+43)
	requireHolds(t, token.Open(path), one)
}
