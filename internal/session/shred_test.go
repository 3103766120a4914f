package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// newTenantSessions returns a keyring and a function that returns the sessions of a tenant.
func newTenantSessions(t *testing.T, store kv.Store) (*keyring.Keyring, func(tenant string) *session.Manager) {
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	ring, err := keyring.Open(t.TempDir(), kek, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	return ring, func(id string) *session.Manager {
		tenant, err := ring.Tenant(t.Context(), id)
		require.NoError(t, err)
		return session.New(store, id, session.WithTenantKeys(seal.NewSealer(tenant)))
	}
}

// Shredding a tenant ends its sessions: the store and the id together do not open them.
func TestShreddingEndsSessions(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		ring, of := newTenantSessions(t, store)
		ctx, m, other := t.Context(), of("clinic"), of("other")
		id, _, err := m.Create(ctx, []byte("planted"), time.Minute, discardRecord)
		require.NoError(t, err)
		kept, _, err := other.Create(ctx, []byte("kept"), time.Minute, discardRecord)
		require.NoError(t, err)
		got, err := m.Get(ctx, id, discardRecord)
		require.NoError(t, err)
		require.Equal(t, "planted", string(got.Data))
		_, err = session.New(store, "clinic").Get(ctx, id, discardRecord)
		require.Error(t, err, "the session's own key is not sufficient")

		require.NoError(t, ring.Shred(ctx, "clinic"))
		for name, call := range map[string]func() error{
			"get":    func() error { _, err := m.Get(ctx, id, discardRecord); return err },
			"extend": func() error { _, err := m.Extend(ctx, id, time.Hour, discardRecord); return err },
			"create": func() error { _, _, err := m.Create(ctx, []byte("new"), time.Minute, discardRecord); return err },
		} {
			t.Run(name, func(t *testing.T) { require.Equal(t, "key_destroyed", codes.Of(call()).Code) })
		}
		require.NoError(t, m.End(ctx, id, discardRecord))
		got, err = other.Get(ctx, kept, discardRecord)
		require.NoError(t, err)
		require.Equal(t, "kept", string(got.Data))
	})
}

// Sessions survive a rotation. Their events name the tenant's key.
func TestSessionsSurviveRotation(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		ring, of := newTenantSessions(t, store)
		ctx, m := t.Context(), of("clinic")
		var key format.KeyID
		id, _, err := m.Create(ctx, []byte("v"), time.Minute, func(_ audit.Action, used format.KeyID, _ error) error {
			key = used
			return nil
		})
		require.NoError(t, err)
		tenant, err := ring.Tenant(ctx, "clinic")
		require.NoError(t, err)
		former, err := tenant.Primary(ctx, format.UseService, classify.Confidential)
		require.NoError(t, err)
		require.Equal(t, former, key)
		_, err = tenant.Rotate(ctx, format.UseService, classify.Confidential, nil)
		require.NoError(t, err)
		_, err = m.Get(ctx, id, discardRecord)
		require.NoError(t, err)
		require.NoError(t, ring.Advance(ctx, "clinic", format.UseService, classify.Confidential, former, envelope.Disabled))
		_, err = m.Get(ctx, id, discardRecord)
		require.ErrorIs(t, err, envelope.ErrKeyUnusable)
	})
}

// replyLosingStore is a store that applies writes and loses the replies.
type replyLosingStore struct {
	kv.Store
	apply bool
}

func (l *replyLosingStore) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if l.apply {
		if _, err := l.Store.Write(ctx, writes); err != nil {
			return nil, err
		}
	}
	return nil, kv.ErrLostReply
}

// A session is created although the reply of the write was lost. If it was not stored, it is recorded as failed.
func TestCreateReadsBack(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		var failures []error
		record := func(_ audit.Action, _ format.KeyID, failed error) error {
			failures = append(failures, failed)
			return nil
		}
		l := &replyLosingStore{store, true}
		m := session.New(l, "a")
		id, _, err := m.Create(t.Context(), []byte("v"), time.Minute, record)
		require.NoError(t, err)
		_, err = m.Get(t.Context(), id, discardRecord)
		require.NoError(t, err)
		require.Equal(t, []error{nil}, failures)
		l.apply = false
		_, _, err = m.Create(t.Context(), []byte("v"), time.Minute, record)
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.Len(t, failures, 3)
		require.ErrorIs(t, failures[2], kv.ErrUnavailable)
	})
}

// Extending and ending a session take effect once and succeed, whichever replies are lost.
func TestLostRepliesOfExtendAndEnd(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		f := kvtest.NewFaulty(store, nil)
		ctx, m := t.Context(), session.New(f, "a")
		for name, fault := range kvtest.Faults {
			if fault == kvtest.Fail {
				continue
			}
			t.Run(name, func(t *testing.T) {
				id, _, err := m.Create(ctx, []byte("v"), time.Minute, discardRecord)
				require.NoError(t, err)
				f.SetFaults(kvtest.Once(fault))
				extended, err := m.Extend(ctx, id, time.Hour, discardRecord)
				require.NoError(t, err)
				f.Flush(ctx)
				got, err := m.Get(ctx, id, discardRecord)
				require.NoError(t, err)
				require.WithinDuration(t, extended.ExpiresAt, got.ExpiresAt, time.Minute)
				f.SetFaults(kvtest.Once(fault))
				require.NoError(t, m.End(ctx, id, discardRecord))
				f.Flush(ctx)
				_, err = m.Get(ctx, id, discardRecord)
				require.ErrorIs(t, err, session.ErrNotFound)
			})
		}
	})
}
