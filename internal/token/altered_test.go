package token_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

const alteredEvent = "token.altered authentication_failed altered critical"

// A document is refused if any byte is changed, removed or added.
func TestEveryByteIsAuthenticated(t *testing.T) {
	site, store := newMemorySite(t)
	made, known := issue(t, site.registry(), readGrant)
	s, good := site.server(t), document(t, store, known.ID)
	try := func(content []byte) {
		t.Helper()
		keystoretest.Put(t, store, keystore.Tokens, known.ID, content)
		s.poll(t)
		s.requireRefused(t, made)
		require.Equal(t, []string{alteredEvent}, s.audit.take(), "%s", content)
	}
	for i := range good {
		for _, bit := range []byte{1, 0x20} {
			altered := append([]byte{}, good...)
			altered[i] ^= bit
			try(altered)
		}
		try(append(append([]byte{}, good[:i]...), good[i+1:]...))
		try(append(append(append([]byte{}, good[:i]...), ' '), good[i:]...))
	}
	try(append(good, '\n'))
	keystoretest.Put(t, store, keystore.Tokens, known.ID, good)
	s.poll(t)
	s.requireAccepted(t, made)
}

// A document that was written without the KEK is not accepted. Each server reports it once, and it is listed.
func TestAlteredDocumentsAreReported(t *testing.T) {
	member := func(name, value string) func(t *testing.T, content []byte) []byte {
		return func(t *testing.T, content []byte) []byte {
			var d map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(content, &d))
			var token map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(d["token"], &token))
			token[name] = json.RawMessage(value)
			text, err := json.Marshal(token)
			require.NoError(t, err)
			return []byte(strings.Replace(string(content), string(d["token"]), string(text), 1))
		}
	}
	for name, change := range map[string]func(t *testing.T, content []byte) []byte{
		"tenant":  member("tenant", `"other"`),
		"scopes":  member("scopes", `["cache:read","cache:write"]`),
		"name":    member("name", `"another"`),
		"expires": member("expiresAt", `"2099-01-01T00:00:00Z"`),
		"hash":    member("sha256", `"`+strings.Repeat("ab", 32)+`"`),
		"created": member("createdAt", `"2020-01-01T00:00:00Z"`),
		"more":    member("more", `1`),
		"empty":   func(*testing.T, []byte) []byte { return []byte("{}") },
		"text":    func(*testing.T, []byte) []byte { return []byte("text") },
		"long":    func(_ *testing.T, content []byte) []byte { return append(content, strings.Repeat(" ", 1<<16)...) },
	} {
		t.Run(name, func(t *testing.T) {
			site, store := newMemorySite(t)
			made, known := issue(t, site.registry(), readGrant)
			keystoretest.Put(t, store, keystore.Tokens, known.ID, change(t, document(t, store, known.ID)))
			s := site.server(t)
			s.requireRefused(t, made)
			require.Equal(t, []string{alteredEvent}, s.audit.take())
			require.Contains(t, s.log.String(), `"level":"ERROR"`)
			require.Equal(t, token.Counts{Altered: 1}, s.Counts())
			require.Equal(t, []token.Token{{ID: known.ID, Altered: true}}, list(t, site.registry()))
			require.NoError(t, s.Scan(t.Context()))
			require.Empty(t, s.audit.take(), "each document is reported once")

			revoke(t, site.registry(), known.ID)
			s.poll(t)
			require.Equal(t, token.Counts{Revoked: 1}, s.Counts())
			require.Empty(t, list(t, site.registry()))
		})
	}
}

// A document is accepted only under its own name and in its own environment.
func TestCopiedDocumentIsRefused(t *testing.T) {
	site, store := newMemorySite(t)
	one, first := issue(t, site.registry(), readGrant)
	two, second := issue(t, site.registry(), readGrant)
	s := site.server(t)
	a, b := document(t, store, first.ID), document(t, store, second.ID)
	keystoretest.Put(t, store, keystore.Tokens, first.ID, b)
	keystoretest.Put(t, store, keystore.Tokens, second.ID, a)
	s.poll(t)
	s.requireRefused(t, one)
	s.requireRefused(t, two)
	require.Equal(t, []string{alteredEvent, alteredEvent}, s.audit.take())

	foreign, _ := newMemorySite(t)
	text, theirs := issue(t, foreign.registry(), token.Grant{Tenant: identity.DefaultTenant, Scopes: identity.AllScopes})
	keystoretest.Put(t, store, keystore.Tokens, theirs.ID, document(t, foreign.store, theirs.ID))
	keystoretest.Put(t, store, keystore.Tokens, "added", a)
	s.poll(t)
	s.requireRefused(t, text)
	require.Equal(t, []string{alteredEvent, alteredEvent}, s.audit.take())
	require.Equal(t, token.Counts{Altered: 4}, s.Counts())
}

// An earlier document of a revoked token is not accepted, and its tombstone is restored, even if the document was
// removed.
func TestRevocationIsNotUndone(t *testing.T) {
	site, store := newMemorySite(t)
	made, known := issue(t, site.registry(), readGrant)
	s := site.server(t)
	live := document(t, store, known.ID)
	revoke(t, site.registry(), known.ID)
	s.poll(t)
	tombstone := document(t, store, known.ID)
	for content, event := range map[string]string{
		string(live): "token.altered authentication_failed returned critical",
		"altered":    alteredEvent,
		"":           "token.altered not_found missing warning",
	} {
		var document1 []byte
		if content != "" {
			document1 = []byte(content)
		}
		keystoretest.Put(t, store, keystore.Tokens, known.ID, document1)
		s.poll(t)
		s.requireRefused(t, made)
		require.Equal(t, tombstone, document(t, store, known.ID))
		require.Equal(t, []string{event}, s.audit.take())
		s.poll(t)
		require.Empty(t, s.audit.take())
	}

	again := site.server(t)
	again.requireRefused(t, made)
	require.Empty(t, again.audit.take())
}

// If a failover takes the store back to an earlier state without entries in the feed, no token is revived and none is
// lost.
func TestRestoredStoreRevivesNoToken(t *testing.T) {
	site, store := newMemorySite(t)
	gone, known := issue(t, site.registry(), readGrant)
	s := site.server(t)
	restore := store.Snapshot()
	revoke(t, site.registry(), known.ID)
	kept, _ := issue(t, site.registry(), readGrant)
	s.poll(t)
	restore()
	require.NoError(t, s.Scan(t.Context()))
	s.requireRefused(t, gone)
	s.requireAccepted(t, kept)
	require.ElementsMatch(t, []string{"token.altered authentication_failed returned critical", "token.altered not_found missing warning"}, s.audit.take())
	another := site.server(t)
	another.requireRefused(t, gone)
	another.requireAccepted(t, kept)
}

// A missing document of a token that is about to expire is not restored: a server whose clock is ahead deleted it.
func TestDocumentDeletedByClockAheadIsNotRestored(t *testing.T) {
	site, store := newMemorySite(t)
	s := site.server(t)
	brief := readGrant
	brief.Lifetime = token.ClockSkew / 2
	made, known := issue(t, site.registry(), brief)
	s.poll(t)
	s.requireAccepted(t, made)
	keystoretest.Put(t, store, keystore.Tokens, known.ID, nil)
	s.poll(t)
	s.requireRefused(t, made)
	require.Nil(t, document(t, store, known.ID))
	require.Empty(t, s.audit.take())
}

// Only a limited number of altered documents is reported one by one. One event has the number of the others.
func TestReportsAreBounded(t *testing.T) {
	site, store := newMemorySite(t)
	for i := range 100 {
		keystoretest.Put(t, store, keystore.Tokens, fmt.Sprint("added ", i), []byte("{}"))
	}
	s := site.server(t)
	require.Equal(t, "80", s.audit.all[20].Facts[audit.FactFailed], "the metric counts it")
	require.Len(t, s.audit.take(), 21)
	require.Contains(t, s.log.String(), `"count":80`)
}

// A due time that differs from the token's expiry deletes nothing and does not delay other deletions.
func TestWrongDueTimeDeletesNothing(t *testing.T) {
	site, store := newMemorySite(t)
	swap := func(name string, old, content []byte, due int64) {
		swapped, err := store.Swap(t.Context(), keystore.Tokens, name, old, content, due)
		require.NoError(t, err)
		require.True(t, swapped)
	}
	for i := range 150 {
		swap(fmt.Sprint("added ", i), nil, []byte("{}"), 1)
	}
	made, known := issue(t, site.registry(), readGrant)
	content := document(t, store, known.ID)
	swap(known.ID, content, content, 1)
	brief := readGrant
	brief.Lifetime = time.Nanosecond
	_, over := issue(t, site.registry(), brief)
	s := site.server(t)
	s.Expire(t.Context())
	require.Nil(t, document(t, store, over.ID))
	require.Equal(t, content, document(t, store, known.ID))
	names, err := store.Due(t.Context(), keystore.Tokens, time.Now().UnixMilli(), 10)
	require.NoError(t, err)
	require.Empty(t, names)
	s.poll(t)
	s.requireAccepted(t, made)
}

// The tombstone of a token that expires is deleted at that time. Other tombstones are kept.
func TestTombstoneIsDeletedAtExpiry(t *testing.T) {
	site, store := newMemorySite(t)
	brief := readGrant
	brief.Lifetime = time.Minute
	_, known := issue(t, site.registry(), brief)
	_, other := issue(t, site.registry(), readGrant)
	revoke(t, site.registry(), known.ID)
	revoke(t, site.registry(), other.ID)
	_, err := site.registry().Revoke(context.Background(), known.ID, discardAudit)
	require.ErrorIs(t, err, token.ErrNoToken)
	s := site.server(t)
	s.Expire(t.Context())
	require.NotNil(t, document(t, store, known.ID))
	s.SetClock(func() time.Time { return time.Now().Add(time.Minute) })
	s.Expire(t.Context())
	require.Nil(t, document(t, store, known.ID))
	require.NotNil(t, document(t, store, other.ID))
	s.poll(t)
	require.Equal(t, token.Counts{Revoked: 1}, s.Counts())
}
