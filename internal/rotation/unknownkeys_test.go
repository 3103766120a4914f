package rotation_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// watch runs the scanner of a site. It returns the scanner, its log and a channel that is closed when Watch returns.
func (s *site) watch() (u *rotation.UnknownKeyScanner, log *bytes.Buffer, ended chan struct{}) {
	log, ended = &bytes.Buffer{}, make(chan struct{})
	u = rotation.NewUnknownKeyScanner(s.Rotator, slog.New(slog.NewTextHandler(log, nil)), func(string) string { return "hash" })
	u.SetIntervals(20 * time.Millisecond)
	go func() {
		defer close(ended)
		u.Watch(s.t.Context())
	}()
	return u, log, ended
}

// Entries whose keyset was lost and replaced by a new one are found until the keyset is restored. Entries under former
// keys and those of a shredded tenant are not counted.
func TestUnknownKeysAreFoundUntilRestored(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	const n = 250
	before := newSite(t, directory(t, t.TempDir()), store, nil)
	before.fill(n)
	before.begin(rotation.Order{})
	u, log, ended := before.watch()
	<-ended
	require.Zero(t, u.Entries(), "entries under former keys")
	require.Empty(t, log.String())
	backup, err := before.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)

	after := newSite(t, directory(t, t.TempDir()), store, nil)
	require.NoError(t, after.cache.SetEncrypted(t.Context(), "another", []byte("value"), 4, cache.TTL(time.Hour)))
	u, log, ended = after.watch()
	require.Eventually(t, func() bool { return u.Entries() == n }, time.Minute, time.Millisecond)
	require.ErrorIs(t, u.Check(t.Context()), envelope.ErrUnknownKey)
	require.Eventually(t, func() bool { return after.audit.events.Load() == 1 }, time.Minute, time.Millisecond)
	_, _, err = after.Keyring.RestoreDocument(t.Context(), backup, keyring.Tombstones{})
	require.NoError(t, err)
	<-ended
	require.NoError(t, u.Check(t.Context()))
	require.Equal(t, 1, strings.Count(log.String(), "level=ERROR"), log)
	require.Contains(t, log.String(), "entries=250 tenants=[hash]")

	require.NoError(t, after.Keyring.Shred(t.Context(), "tenant"))
	u, log, ended = after.watch()
	<-ended
	require.Zero(t, u.Entries(), "entries of a shredded tenant")
	require.Empty(t, log.String())

	none := newSite(t, directory(t, t.TempDir()), store, func(*rotation.Options) {})
	gone, err := none.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.Empty(t, gone.Keysets, "the tenant has no key yet")
	u, _, _ = none.watch()
	require.Eventually(t, func() bool { return u.Entries() == n+1 }, time.Minute, time.Millisecond)
}
