package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
)

func TestDoctorReportsRiskyTokensOnly(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	young := now.Add(-duration.Day)
	for name, c := range map[string]struct {
		token token.Token
		says  string
	}{
		"good":       {token.Token{CreatedAt: young, Scopes: identity.CacheRead}, ""},
		"expired":    {token.Token{CreatedAt: young, ExpiresAt: now}, "has expired"},
		"soon":       {token.Token{CreatedAt: young, ExpiresAt: now.Add(13 * duration.Day)}, "expires at 2026-03-14"},
		"later":      {token.Token{CreatedAt: young, ExpiresAt: now.Add(15 * duration.Day), Scopes: identity.AllScopes}, ""},
		"every":      {token.Token{CreatedAt: young, Scopes: identity.AllScopes}, "has every scope"},
		"operator":   {token.Token{CreatedAt: young, Tenant: identity.EveryTenant, Scopes: identity.AdminScopes}, "administers every tenant"},
		"unused":     {token.Token{CreatedAt: now.Add(-200 * duration.Day), Scopes: identity.CacheRead}, "was not used for 200d"},
		"still used": {token.Token{CreatedAt: now.Add(-200 * duration.Day), LastUsedAt: young, Scopes: identity.CacheRead}, ""},
	} {
		found := judgeTokens([]token.Token{c.token}, now)
		require.Len(t, found, 1, name)
		if c.says == "" {
			require.Equal(t, verdictOK, found[0].Verdict, name)
			continue
		}
		require.Contains(t, found[0].Found, c.says, name)
		require.NotEmpty(t, found[0].Do, name)
	}
	require.Equal(t, verdictWarning, judgeTokens(nil, now)[0].Verdict)
}

func TestDoctorComparesFreeSpaceWithTheMinimum(t *testing.T) {
	dir := t.TempDir()
	free, err := durable.FreeSpace(dir)
	require.NoError(t, err)
	for minFree, want := range map[int64]verdict{free / 64: verdictOK, free / 2: verdictWarning, free * 2: verdictFailure} {
		found := checkFreeSpace(t.Context(), &installation{config: &config.Config{Data: dir, MinFree: minFree}})
		require.Len(t, found, 1)
		require.Equal(t, want, found[0].Verdict, found[0].Found)
	}
}
