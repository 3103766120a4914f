package session_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func onEach(t *testing.T, test func(t *testing.T, store kv.Store)) {
	t.Run("redis", func(t *testing.T) { test(t, rediskv.New(redistest.Start(t).Client(t))) })
	t.Run("embedded", func(t *testing.T) {
		store, err := sqlitekv.Open(t.TempDir(), nil)
		require.NoError(t, err)
		defer store.Close()
		test(t, store)
	})
}

func discardRecord(audit.Action, format.KeyID, error) error { return nil }

// singleEntry returns the only key and value in the store.
func singleEntry(t *testing.T, store kv.Store) (string, []byte) {
	t.Helper()
	keys, _, err := store.Scan(t.Context(), "", "", 0)
	require.NoError(t, err)
	require.Len(t, keys, 1)
	value, _, err := kv.Get(t.Context(), store, keys[0])
	require.NoError(t, err)
	return keys[0], value
}

func TestSessionUntilExpiry(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		ctx, m := t.Context(), session.New(store, "a")
		id, made, err := m.Create(ctx, []byte("planted"), time.Minute, discardRecord)
		require.NoError(t, err)
		require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, id)
		name, pkg := singleEntry(t, store)
		require.NotContains(t, name+string(pkg), id)
		require.NotContains(t, string(pkg), "planted")
		got, err := m.Get(ctx, id, discardRecord)
		require.NoError(t, err)
		require.Equal(t, "planted", string(got.Data))
		require.Equal(t, made.CreatedAt, got.CreatedAt)
		require.WithinDuration(t, time.Now().Add(time.Minute), got.ExpiresAt, 30*time.Second)

		extended, err := m.Extend(ctx, id, 23*time.Hour, discardRecord)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(23*time.Hour), extended.ExpiresAt, 30*time.Second)
		time.Sleep(2 * time.Millisecond)
		_, err = m.Extend(ctx, id, 24*time.Hour, discardRecord)
		require.ErrorIs(t, err, session.ErrTTL, "the age of the session counts")
		_, err = m.Extend(ctx, id, 0, discardRecord)
		require.ErrorIs(t, err, session.ErrTTL)

		require.NoError(t, m.End(ctx, id, discardRecord))
		require.NoError(t, m.End(ctx, id, discardRecord))
		_, err = m.Get(ctx, id, discardRecord)
		require.ErrorIs(t, err, session.ErrNotFound)
		_, err = m.Extend(ctx, id, time.Minute, discardRecord)
		require.ErrorIs(t, err, session.ErrNotFound)

		id, _, err = m.Create(ctx, nil, 30*time.Millisecond, discardRecord)
		require.NoError(t, err)
		time.Sleep(150 * time.Millisecond)
		_, err = m.Get(ctx, id, discardRecord)
		require.ErrorIs(t, err, session.ErrNotFound)
	})
}

func TestInvalidSessionsAreRefused(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		ctx, m := t.Context(), session.New(store, "a")
		for _, ttl := range []time.Duration{0, -1, 24*time.Hour + 1} {
			_, _, err := m.Create(ctx, nil, ttl, discardRecord)
			require.ErrorIs(t, err, session.ErrTTL)
		}
		_, _, err := m.Create(ctx, make([]byte, session.MaxData+1), time.Minute, discardRecord)
		require.ErrorIs(t, err, format.ErrTooLarge)
		for _, id := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", strings.Repeat("A", 44)} {
			_, err := m.Get(ctx, id, discardRecord)
			require.ErrorIs(t, err, session.ErrNotFound)
		}
		id, _, err := m.Create(ctx, []byte("v"), time.Minute, discardRecord)
		require.NoError(t, err)
		_, err = session.New(store, "b").Get(ctx, id, discardRecord)
		require.ErrorIs(t, err, session.ErrNotFound)
		name, pkg := singleEntry(t, store)
		altered := append([]byte{}, pkg...)
		altered[len(altered)-1] ^= 1
		require.NoError(t, kv.Set(ctx, store, name, altered, time.Minute))
		var recordedErr error
		h, _, err := format.ParseHeader(pkg)
		require.NoError(t, err)
		_, err = m.Get(ctx, id, func(_ audit.Action, key format.KeyID, failed error) error {
			require.Equal(t, h.KeyID, key, "the event names the key")
			recordedErr = failed
			return failed
		})
		require.ErrorIs(t, err, envelope.ErrAuthentication)
		require.ErrorIs(t, recordedErr, envelope.ErrAuthentication)
	})
}

// If an action cannot be recorded, it has no effect.
func TestUnrecordedActionHasNoEffect(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		ctx, m := t.Context(), session.New(store, "a")
		full, recorded := errors.New("full"), []audit.Action{}
		refuse := func(action audit.Action, _ format.KeyID, _ error) error {
			recorded = append(recorded, action)
			return full
		}
		_, _, err := m.Create(ctx, nil, time.Minute, refuse)
		require.ErrorIs(t, err, full)
		keys, _, err := store.Scan(ctx, "", "", 0)
		require.NoError(t, err)
		require.Empty(t, keys)
		id, _, err := m.Create(ctx, []byte("v"), time.Minute, discardRecord)
		require.NoError(t, err)
		got, err := m.Get(ctx, id, refuse)
		require.ErrorIs(t, err, full)
		require.Zero(t, got)
		_, err = m.Extend(ctx, id, time.Hour, refuse)
		require.ErrorIs(t, err, full)
		require.ErrorIs(t, m.End(ctx, id, refuse), full)
		got, err = m.Get(ctx, id, discardRecord)
		require.NoError(t, err)
		require.Less(t, time.Until(got.ExpiresAt), 2*time.Minute)
		require.Equal(t, []audit.Action{audit.SessionCreate, audit.KeyOpen, audit.SessionExtend, audit.SessionEnd}, recorded)
	})
}
