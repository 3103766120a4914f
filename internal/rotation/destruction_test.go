package rotation_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// advanceToDestruction rotates a class until the next step is the destruction of its former key.
func (s *site) advanceToDestruction() {
	s.t.Helper()
	s.begin(rotation.Order{Class: classify.PHI})
	s.runAll()
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin)
	for first := s.sweep().Number; s.sweep().LastComplete < first+2; {
		_, err := s.RunPending(s.t.Context())
		require.NoError(s.t, err)
	}
	require.Zero(s.t, s.states(format.UseCache)[envelope.Destroyed])
}

// A server with another cache that starts after the sweeps prevents the destruction for as long as it runs.
func TestServerWithAnotherCachePreventsDestruction(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	other := newSite(t, s.Keystore, store, nil)
	other.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin)
	s.advanceToDestruction()
	_, err = rotation.Announce(other.Rotator, t.Context())
	require.NoError(t, err)
	_, err = s.RunPending(t.Context())
	require.ErrorContains(t, err, "no key is destroyed")
	require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
	require.NoError(t, other.Withdraw(t.Context()))
	s.clock.advance(2 * rotation.Margin)
	require.Equal(t, rotation.Done, s.runAll().State)
}

// The announcement of a server that stopped is ignored after a minute, unless the server announces itself again.
func TestDeadServerIsIgnored(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = rotation.Announce(newSite(t, s.Keystore, store, nil).Rotator, t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, newSite(t, s.Keystore, s.Store, nil).UnsharedReason(t.Context()))
	s.clock.advance(15*time.Minute + time.Second)
	require.Contains(t, s.UnsharedReason(t.Context()), "or that server was killed")
	s.clock.advance(time.Minute)
	require.Empty(t, s.UnsharedReason(t.Context()))
}

// A sweep in the grace period that finds an entry under a former key does not count if the key is marked compromised
// later.
func TestSweepDoesNotCountAfterFinding(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	former := s.primaries()[classify.PHI]
	stale := s.prepareLateWrite("entry 4", "value 4")
	s.begin(rotation.Order{Class: classify.PHI})
	require.Equal(t, rotation.Grace, s.runAll().State)
	s.clock.advance(s.Keyring.TTL() + rotation.Margin + time.Second)
	stale()
	s.begin(rotation.Order{Class: classify.PII})
	require.Equal(t, rotation.Grace, s.runAll().State)
	require.Equal(t, 10, s.entriesUnderPrimary(10))
	first := s.sweep().Number
	require.NoError(t, s.Keyring.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, former, envelope.Compromised))
	s.begin(rotation.Order{Class: classify.Public})
	s.runAll()
	require.Equal(t, first+1, s.sweep().Number)
	require.Zero(t, s.states(format.UseCache)[envelope.Destroyed], "one sweep found nothing")
	s.clock.advance(time.Hour)
	s.runAll()
	require.Equal(t, 1, s.states(format.UseCache)[envelope.Destroyed])
}

// interceptingRecorder is an eventLog that calls a function once, when the first destruction is announced but not made
// yet.
type interceptingRecorder struct {
	eventLog
	meddle func()
}

func (m *interceptingRecorder) Record(ctx context.Context, events ...audit.Event) error {
	if meddle := m.meddle; meddle != nil && events[0].Action == audit.KeyDestroy {
		m.meddle = nil
		meddle()
	}
	return m.eventLog.Record(ctx, events...)
}

// A key that becomes the primary again after its destruction was decided is not destroyed.
func TestPromotedKeyIsNotDestroyed(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	log := &interceptingRecorder{}
	s := newSite(t, directory(t, t.TempDir()), store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	former := s.primaries()[classify.PHI]
	s.advanceToDestruction()
	log.meddle = func() {
		require.NoError(t, s.Keyring.Edit(t.Context(), "tenant", func(e *keyring.Edit) error {
			return e.Promote(format.UseCache, classify.PHI, former)
		}))
		s.fill(10)
		key := secret.New()
		defer key.Clear()
		require.NoError(t, s.Keyring.Edit(t.Context(), "tenant", func(e *keyring.Edit) error {
			return e.AddKey(t.Context(), format.UseCache, classify.PHI, key)
		}))
	}
	_, err = s.RunPending(t.Context())
	require.NoError(t, err)
	require.Nil(t, log.meddle)
	require.Equal(t, "precondition_failed", log.events[len(log.events)-1].Code)
	s.requireReadable(10)
}

// replyLosingStore is a keystore that loses the reply of the next write of a keyset and fails the read after it.
type replyLosingStore struct {
	keystore.Store
	loses  atomic.Bool
	unread atomic.Int32
}

func (d *replyLosingStore) Swap(ctx context.Context, kind keystore.Kind, name string, old, content []byte, due int64) (bool, error) {
	swapped, err := d.Store.Swap(ctx, kind, name, old, content, due)
	if kind == keystore.Keysets && d.loses.CompareAndSwap(true, false) {
		d.unread.Store(3)
		return false, keystore.ErrUnavailable
	}
	return swapped, err
}

func (d *replyLosingStore) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	if d.unread.Add(-1) >= 0 {
		return nil, keystore.ErrUnavailable
	}
	return d.Store.Get(ctx, kind, name)
}

// A change whose reply was lost, and that can only be read back a moment later, is made once and is not recorded as
// failed.
func TestLostReplyIsRecordedAsSuccess(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys, log := &replyLosingStore{Store: directory(t, t.TempDir())}, &eventLog{}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	first := s.primaries()
	for _, change := range []func(){
		func() { s.begin(rotation.Order{Class: classify.PHI}) },
		func() {
			_, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
			require.NoError(t, err)
		},
	} {
		keys.loses.Store(true)
		change()
		require.False(t, keys.loses.Load())
	}
	require.Equal(t, first, s.primaries())
	require.Equal(t, classes+1, s.states(format.UseCache)[envelope.Enabled])
	require.False(t, slices.ContainsFunc(log.events, func(e audit.Event) bool { return e.Code != "" }), "%+v", log.events)
}

// A server whose clock is years ahead considers all keys old enough. It destroys none while another server is alive.
func TestClockFarAheadDestroysNoKey(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"ahead": 70 * 365 * 24 * time.Hour, "behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLocalSite(t, nil)
			s.fill(10)
			other := newSite(t, s.Keystore, s.Store, nil)
			other.clock.advance(off)
			for range 2 { // a server is alive if its announcement changes
				for _, one := range []*site{s, other} {
					if _, err := rotation.Announce(one.Rotator, t.Context()); err != nil {
						require.ErrorContains(t, err, "the clock of")
					}
					one.clock.advance(5 * time.Second)
				}
			}
			s.begin(rotation.Order{})
			for _, one := range []*site{s, other} {
				require.Contains(t, one.UnsharedReason(t.Context()), "the clock of")
			}
			for range 5 {
				_, _ = other.RunPending(t.Context())
				other.clock.advance(time.Minute)
			}
			require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
			require.NoError(t, other.Withdraw(t.Context()))
			require.Empty(t, s.UnsharedReason(t.Context()))
		})
	}
}

// A process whose clock is years ahead destroys no key right after its start, because a live server may announce itself
// a few seconds later.
func TestClockFarAheadDestroysNoKeyAtStart(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	_, err := rotation.Announce(s.Rotator, t.Context())
	require.NoError(t, err)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.runAll().State)
	other := newSite(t, s.Keystore, s.Store, nil)
	other.clock.advance(70 * 365 * 24 * time.Hour)
	for range 20 {
		_, _ = other.RunPending(t.Context())
	}
	require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
}

// The announcement of a dead server causes no warning, even if no other server has removed it.
func TestDeadServerWarnsOfNothing(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	other := newSite(t, s.Keystore, store, nil)
	for range 2 {
		for _, one := range []*site{s, other} {
			_, _ = rotation.Announce(one.Rotator, t.Context())
		}
	}
	warnings := func() []string {
		status, err := s.Status(t.Context(), nil)
		require.NoError(t, err)
		return status.Warnings
	}
	require.Len(t, warnings(), 2)
	s.clock.advance(16 * time.Minute)
	require.Empty(t, warnings())
}
