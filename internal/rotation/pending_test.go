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

// An order whose process was killed before the change is looked at once, and then no more.
func TestOrderWithoutChange(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &sealedOff{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, nil)
	s.fill(10)
	keys.broken.Store(true)
	_, err = s.Begin(t.Context(), "tenant", rotation.Order{})
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	keys.broken.Store(false)
	s.clock.pass(time.Hour)
	for range 3 {
		_, err = s.RunPending(t.Context())
		require.NoError(t, err)
	}
	due, err := s.Keystore.Due(t.Context(), keystore.Rotations, s.clock.now().Add(time.Hour).UnixMilli(), 10)
	require.NoError(t, err)
	require.Empty(t, due)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.work().State)
}

// slow is a store whose next write of a keyset waits until it is released.
type slow struct {
	keystore.Store
	mu      sync.Mutex
	waiting chan struct{} // closed when the write waits; nil if none is to wait
	release chan struct{}
}

func (o *slow) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
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

// The order of a slow change is kept, although the clock of another server is almost a minute ahead.
func TestSlowChangeBesideAnotherClock(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &slow{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, nil)
	other := newSite(t, keys.Store, store, nil)
	other.clock.pass(59 * time.Second)
	s.fill(10)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.work().State)
	waiting, begun := make(chan struct{}), make(chan error)
	keys.mu.Lock()
	keys.waiting, keys.release = waiting, make(chan struct{})
	keys.mu.Unlock()
	go func() {
		_, err := s.Begin(context.Background(), "tenant", rotation.Order{Compromised: true})
		begun <- err
	}()
	<-waiting
	other.clock.pass(20 * time.Second) // the change takes as long
	_, err = other.RunPending(t.Context())
	require.NoError(t, err)
	close(keys.release)
	require.NoError(t, <-begun)
	require.Equal(t, 2*classes, s.states(format.UseCache)[envelope.Compromised])
	require.Equal(t, rotation.Reencrypting, s.record().State, "%+v", s.record())
	s.work()
	require.Equal(t, 10, s.under(10))
}

// A keyset that another server rotated while this one had it on its list is due when the age says so.
func TestDueOfAnotherServer(t *testing.T) {
	t.Parallel()
	const age = 90 * 24 * time.Hour
	s := local(t, func(o *rotation.Options) { o.MaxAge = age })
	s.fill(10)
	s.begin(rotation.Order{})
	d, err := s.Keystore.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	_, err = s.Keystore.Swap(t.Context(), keystore.Keysets, "tenant", d, d, 1)
	require.NoError(t, err)
	s.clock.pass(time.Second)
	due := func(after time.Duration) []string {
		names, err := s.Keystore.Due(t.Context(), keystore.Keysets, s.clock.now().Add(after).UnixMilli(), 10)
		require.NoError(t, err)
		return names
	}
	require.NotEmpty(t, due(0))
	s.serve(func() bool { return len(due(0)) == 0 })
	require.Empty(t, due(age-time.Hour))
	require.NotEmpty(t, due(age+time.Hour))
}

// A tenant that waits for something else than the sweep that ended is looked at once, however long the sweep took, and so is one
// that fails.
func TestLooksAfterALongSweep(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]bool{"waiting": false, "failing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := sqlitekv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			f, keys, log := &faulty{Store: store}, &sealedOff{Store: directory(t, t.TempDir())}, &journal{}
			s := newSite(t, keys, f, func(o *rotation.Options) { o.Grace, o.Audit = time.Minute, log })
			s.fill(10)
			s.begin(rotation.Order{})
			takes := 10 * time.Minute
			f.page = func() { s.clock.pass(takes); takes += 10 * time.Minute } // longer than the sweep before, by which the tenant waits
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
				s.clock.pass(2 * time.Hour)
				keys.broken.Store(true) // before the keys are destroyed
				until(func() bool { return false })
				require.NotEmpty(t, log.take()[audit.KeyDestroy])
				s.clock.pass(2 * time.Hour)
				until(func() bool { return false })
			}
			require.LessOrEqual(t, len(log.events), 2*classes)
		})
	}
}

// A long sweep that ended delays no tenant that waits for something else: an order whose process was killed is forgotten in its time.
func TestOrderWithoutChangeAfterALongSweep(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f, keys := &faulty{Store: store}, &sealedOff{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, f, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	f.page = func() { s.clock.pass(time.Hour) }
	require.Equal(t, rotation.Grace, s.work().State)
	f.page = nil
	keys.broken.Store(true)
	_, err = s.Begin(t.Context(), "tenant", rotation.Order{})
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	keys.broken.Store(false)
	require.Equal(t, rotation.Rotating, s.work().State)
	for range 7 {
		s.clock.pass(time.Minute)
		s.work()
	}
	require.Equal(t, rotation.Grace, s.record().State)
}
