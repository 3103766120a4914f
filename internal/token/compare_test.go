package token_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// Compare finds tokens that differ from the events of an audit log.
func TestCompareFindsDifferencesFromLog(t *testing.T) {
	site, store := newMemorySite(t)
	path, key := filepath.Join(t.TempDir(), "audit"), audit.NewKey(new(secret.Key))
	log, err := audit.Open(path, key, audit.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	recorded := token.Audit{Recorder: log, Operation: "token test"}
	make := func(log token.Audit) string {
		_, made, err := site.registry().Issue(t.Context(), readGrant, log)
		require.NoError(t, err)
		return made.ID
	}
	compare := func(mayLack bool) token.Comparison {
		var events token.AuditEvents
		require.NoError(t, audit.ReadVerified(t.Context(), path, key, &audit.Filter{Action: "token."}, events.Add))
		c, err := site.registry().Compare(t.Context(), &events, func(time.Time) bool { return mayLack })
		require.NoError(t, err)
		return c
	}
	_, gone := make(recorded), make(recorded)
	live := document(t, store, gone)
	_, err = site.registry().Revoke(context.Background(), gone, recorded)
	require.NoError(t, err)
	require.Equal(t, token.Comparison{Compared: 1}, compare(false))

	keystoretest.Put(t, store, keystore.Tokens, gone, live)
	require.Equal(t, token.Comparison{Compared: 1, Findings: []token.Finding{{ID: gone, Kind: token.Reinstated}}}, compare(true))
	keystoretest.Put(t, store, keystore.Tokens, gone, nil)
	require.Equal(t, token.Comparison{Compared: 1}, compare(false))

	unknown := make(discardAudit)
	require.Equal(t, token.Comparison{Compared: 1, Unexplained: 1}, compare(true))
	require.Equal(t, token.Comparison{Compared: 1, Findings: []token.Finding{{ID: unknown, Kind: token.Unrecorded}}}, compare(false))
	keystoretest.Put(t, store, keystore.Tokens, unknown, []byte("altered"))
	require.Equal(t, token.Comparison{Compared: 1, Findings: []token.Finding{{ID: unknown, Kind: token.Altered}}}, compare(true))
	keystoretest.Put(t, store, keystore.Tokens, unknown, nil)

	// Only a process that can use the KEK can write another token under a recorded id.
	other := make(token.Audit{Recorder: audit.Discard})
	require.NoError(t, log.Record(t.Context(), audit.Event{
		Action: audit.TokenCreate, Subject: other, Facts: audit.Facts{audit.FactDigest: "another"},
	}))
	require.Equal(t, token.Comparison{Compared: 1, Findings: []token.Finding{{ID: other, Kind: token.Mismatched}}}, compare(true))
}
