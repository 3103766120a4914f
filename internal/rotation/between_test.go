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

// toDestruction rotates a class, and works until the next step is the destruction of its former key.
func (s *site) toDestruction() {
	s.t.Helper()
	s.begin(rotation.Order{Class: classify.PHI})
	s.work()
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin)
	for first := s.sweep().Number; s.sweep().LastComplete < first+2; {
		_, err := s.RunPending(s.t.Context())
		require.NoError(s.t, err)
	}
	require.Zero(s.t, s.states(format.UseCache)[envelope.Destroyed])
}

// A server with another cache that starts after the sweeps keeps the keys for as long as it runs.
func TestAnotherCacheBeforeDestruction(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	other := newSite(t, s.Keystore, store, nil)
	other.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin)
	s.toDestruction()
	_, err = rotation.Announce(other.Rotator, t.Context())
	require.NoError(t, err)
	_, err = s.RunPending(t.Context())
	require.ErrorContains(t, err, "no key is destroyed")
	require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
	require.NoError(t, other.Withdraw(t.Context()))
	s.clock.pass(2 * rotation.Margin)
	require.Equal(t, rotation.Done, s.work().State)
}

// An announcement that is older than a server's silence keeps no key, unless the server announces itself again within seconds.
func TestDeadServer(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = rotation.Announce(newSite(t, s.Keystore, store, nil).Rotator, t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, newSite(t, s.Keystore, s.Store, nil).UnsharedReason(t.Context()))
	s.clock.pass(15*time.Minute + time.Second)
	require.Contains(t, s.UnsharedReason(t.Context()), "or that server was killed")
	s.clock.pass(time.Minute)
	require.Empty(t, s.UnsharedReason(t.Context()))
}

// A sweep in the grace period that finds an entry under a former key does not count if that turns out to be compromised.
func TestFoundBeforeCompromised(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	former := s.primaries()[classify.PHI]
	stale := s.straggler("entry 4", "value 4")
	s.begin(rotation.Order{Class: classify.PHI})
	require.Equal(t, rotation.Grace, s.work().State)
	s.clock.pass(s.Keyring.TTL() + rotation.Margin + time.Second)
	stale()
	s.begin(rotation.Order{Class: classify.PII})
	require.Equal(t, rotation.Grace, s.work().State)
	require.Equal(t, 10, s.under(10))
	first := s.sweep().Number
	require.NoError(t, s.Keyring.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, former, envelope.Compromised))
	s.begin(rotation.Order{Class: classify.Public})
	s.work()
	require.Equal(t, first+1, s.sweep().Number)
	require.Zero(t, s.states(format.UseCache)[envelope.Destroyed], "one sweep found nothing")
	s.clock.pass(time.Hour)
	s.work()
	require.Equal(t, 1, s.states(format.UseCache)[envelope.Destroyed])
}

// meddler is a journal. It calls a function once, when the first destruction is announced and not made yet.
type meddler struct {
	journal
	meddle func()
}

func (m *meddler) Record(ctx context.Context, events ...audit.Event) error {
	if meddle := m.meddle; meddle != nil && events[0].Action == audit.KeyDestroy {
		m.meddle = nil
		meddle()
	}
	return m.journal.Record(ctx, events...)
}

// A key that is the primary again for a moment, after its destruction was decided, is not destroyed.
func TestDestructionOfAPrimaryOfTheMeantime(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	log := &meddler{}
	s := newSite(t, directory(t, t.TempDir()), store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	former := s.primaries()[classify.PHI]
	s.toDestruction()
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
	s.reads(10)
}

// deaf is a keystore that loses the reply of a keyset's next write, and cannot be read back then.
type deaf struct {
	keystore.Store
	loses  atomic.Bool
	unread atomic.Int32
}

func (d *deaf) Swap(ctx context.Context, kind keystore.Kind, name string, old, content []byte, due int64) (bool, error) {
	swapped, err := d.Store.Swap(ctx, kind, name, old, content, due)
	if kind == keystore.Keysets && d.loses.CompareAndSwap(true, false) {
		d.unread.Store(3)
		return false, keystore.ErrUnavailable
	}
	return swapped, err
}

func (d *deaf) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	if d.unread.Add(-1) >= 0 {
		return nil, keystore.ErrUnavailable
	}
	return d.Store.Get(ctx, kind, name)
}

// A change whose reply was lost, and that could be read back a moment later only, is made once and is not on record as failed.
func TestLateReadBack(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys, log := &deaf{Store: directory(t, t.TempDir())}, &journal{}
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

// A server whose clock is years ahead believes that all keys were kept for long enough. It destroys none while another server lives.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"ahead": 70 * 365 * 24 * time.Hour, "behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := local(t, nil)
			s.fill(10)
			other := newSite(t, s.Keystore, s.Store, nil)
			other.clock.pass(off)
			for range 2 { // a server lives if its announcement changes
				for _, one := range []*site{s, other} {
					if _, err := rotation.Announce(one.Rotator, t.Context()); err != nil {
						require.ErrorContains(t, err, "the clock of")
					}
					one.clock.pass(5 * time.Second)
				}
			}
			s.begin(rotation.Order{})
			for _, one := range []*site{s, other} {
				require.Contains(t, one.UnsharedReason(t.Context()), "the clock of")
			}
			for range 5 {
				_, _ = other.RunPending(t.Context())
				other.clock.pass(time.Minute)
			}
			require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
			require.NoError(t, other.Withdraw(t.Context()))
			require.Empty(t, s.UnsharedReason(t.Context()))
		})
	}
}

// A process whose clock is years ahead destroys no key either if it has just started: another server may live, and announce itself
// a few seconds later.
func TestClocksApartAtStart(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	_, err := rotation.Announce(s.Rotator, t.Context())
	require.NoError(t, err)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.work().State)
	other := newSite(t, s.Keystore, s.Store, nil)
	other.clock.pass(70 * 365 * 24 * time.Hour)
	for range 20 {
		_, _ = other.RunPending(t.Context())
	}
	require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
}

// A server that died long ago warns of nothing, also if no other one has removed its announcement.
func TestWarningOfADeadServer(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
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
	s.clock.pass(16 * time.Minute)
	require.Empty(t, warnings())
}
