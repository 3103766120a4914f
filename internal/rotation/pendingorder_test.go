package rotation_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// The order of a process that was killed before the change is checked once and then dropped.
func TestOrderWithoutChangeIsForgotten(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &readOnlyKeysets{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, nil)
	s.fill(10)
	keys.broken.Store(true)
	_, err = s.Begin(t.Context(), "tenant", rotation.Order{})
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	keys.broken.Store(false)
	s.clock.advance(time.Hour)
	for range 3 {
		_, err = s.RunPending(t.Context())
		require.NoError(t, err)
	}
	due, err := s.Keystore.Due(t.Context(), keystore.Rotations, s.clock.now().Add(time.Hour).UnixMilli(), 10)
	require.NoError(t, err)
	require.Empty(t, due)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.runAll().State)
}

// slowKeystore is a keystore whose next write of a keyset waits until it is released.
type slowKeystore struct {
	keystore.Store
	mu      sync.Mutex
	waiting chan struct{} // closed when the write waits; nil if no write should wait
	release chan struct{}
}

func (o *slowKeystore) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
	o.mu.Lock()
	waiting := o.waiting
	if kind == keystore.Keysets && waiting != nil {
		o.waiting = nil
	}
	o.mu.Unlock()
	if kind == keystore.Keysets && waiting != nil {
		close(waiting)
		<-o.release
	}
	return o.Store.Swap(ctx, kind, id, old, content, due)
}

// The order of a slow change is kept even if the clock of another server is almost a minute ahead.
func TestSlowChangeKeepsItsOrder(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &slowKeystore{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, nil)
	other := newSite(t, keys.Store, store, nil)
	other.clock.advance(59 * time.Second)
	s.fill(10)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.runAll().State)
	waiting, begun := make(chan struct{}), make(chan error)
	keys.mu.Lock()
	keys.waiting, keys.release = waiting, make(chan struct{})
	keys.mu.Unlock()
	go func() {
		_, err := s.Begin(context.Background(), "tenant", rotation.Order{Compromised: true})
		begun <- err
	}()
	<-waiting
	other.clock.advance(20 * time.Second) // the duration of the change
	_, err = other.RunPending(t.Context())
	require.NoError(t, err)
	close(keys.release)
	require.NoError(t, <-begun)
	require.Equal(t, 2*classes, s.states(format.UseCache)[envelope.Compromised])
	require.Equal(t, rotation.Reencrypting, s.record().State, "%+v", s.record())
	s.runAll()
	require.Equal(t, 10, s.entriesUnderPrimary(10))
}

// A keyset that another server rotated while this server had it in its list gets the due time of its new age.
func TestDueTimeAfterAnotherServersRotation(t *testing.T) {
	t.Parallel()
	const age = 90 * 24 * time.Hour
	s := newLocalSite(t, func(o *rotation.Options) { o.MaxAge = age })
	s.fill(10)
	s.begin(rotation.Order{})
	d, err := s.Keystore.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	_, err = s.Keystore.Swap(t.Context(), keystore.Keysets, "tenant", d, d, 1)
	require.NoError(t, err)
	s.clock.advance(time.Second)
	due := func(after time.Duration) []string {
		names, err := s.Keystore.Due(t.Context(), keystore.Keysets, s.clock.now().Add(after).UnixMilli(), 10)
		require.NoError(t, err)
		return names
	}
	require.NotEmpty(t, due(0))
	s.serveUntil(func() bool { return len(due(0)) == 0 })
	require.Empty(t, due(age-time.Hour))
	require.NotEmpty(t, due(age+time.Hour))
}

// After a sweep, a tenant that waits for something else is checked only once, however long the sweep took. The same is
// true for a tenant whose check fails.
func TestLongSweepRechecksTenantOnce(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]bool{"waiting": false, "failing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := sqlitekv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			f, keys, log := &faultyCache{Store: store}, &readOnlyKeysets{Store: directory(t, t.TempDir())}, &eventLog{}
			s := newSite(t, keys, f, func(o *rotation.Options) { o.Grace, o.Audit = time.Minute, log })
			s.fill(10)
			s.begin(rotation.Order{})
			takes := 10 * time.Minute
			f.page = func() { s.clock.advance(takes); takes += 10 * time.Minute } // longer than the last sweep, which determines the next check
			until := func(done func() bool) {
				for range 20 {
					if done() {
						return
					}
					did, err := s.RunPending(t.Context())
					if !breaks {
						require.NoError(t, err)
					}
					if !did {
						return
					}
				}
				require.Fail(t, "it does not end", "%+v", s.record())
			}
			until(func() bool { return breaks && s.sweep().Ended > 0 })
			if breaks {
				s.clock.advance(2 * time.Hour)
				keys.broken.Store(true) // before the keys are destroyed
				until(func() bool { return false })
				require.NotEmpty(t, log.takeRequesters()[audit.KeyDestroy])
				s.clock.advance(2 * time.Hour)
				until(func() bool { return false })
			}
			require.LessOrEqual(t, len(log.events), 2*classes)
		})
	}
}

// A long sweep does not delay the check of an order whose process was killed.
func TestLongSweepDelaysNoForgottenOrder(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f, keys := &faultyCache{Store: store}, &readOnlyKeysets{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, f, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	f.page = func() { s.clock.advance(time.Hour) }
	require.Equal(t, rotation.Grace, s.runAll().State)
	f.page = nil
	keys.broken.Store(true)
	_, err = s.Begin(t.Context(), "tenant", rotation.Order{})
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	keys.broken.Store(false)
	require.Equal(t, rotation.Rotating, s.runAll().State)
	for range 7 {
		s.clock.advance(time.Minute)
		s.runAll()
	}
	require.Equal(t, rotation.Grace, s.record().State)
}
