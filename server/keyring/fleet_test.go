package keyring

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// limited is a KMS that permits a number of calls per second, throttles further calls, and can be down.
type limited struct {
	kms.KEK
	allowed *rate.Limiter
	down    atomic.Bool

	mu    sync.Mutex
	calls map[int64]int // by second
	good  map[int64]int
}

func newLimited(t *testing.T, perSecond float64) *limited {
	return &limited{
		KEK: localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), allowed: rate.NewLimiter(rate.Limit(perSecond), int(perSecond)/5),
		calls: map[int64]int{}, good: map[int64]int{},
	}
}

func (l *limited) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	second := time.Now().Unix()
	l.mu.Lock()
	l.calls[second]++
	l.mu.Unlock()
	time.Sleep(5 * time.Millisecond)
	switch {
	case l.down.Load():
		return nil, kms.ErrUnavailable
	case !l.allowed.Allow():
		return nil, kms.ErrThrottled
	}
	l.mu.Lock()
	l.good[second]++
	l.mu.Unlock()
	return l.KEK.Unwrap(ctx, wrapped, additionalData)
}

// between returns the most calls in one second since a time, and the numbers of calls and of answered calls.
func (l *limited) between(from time.Time) (most, calls, good int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for second := from.Unix(); second <= time.Now().Unix(); second++ {
		most, calls, good = max(most, l.calls[second]), calls+l.calls[second], good+l.good[second]
	}
	return most, calls, good
}

// fleet is a keyring with many unlocked tenants that are all in use.
type fleet struct {
	ring    *Keyring
	tenants []*Tenant
}

func newFleet(t *testing.T, store keystore.Store, kek kms.KEK, n int, options ...Option) *fleet {
	maker := ringOver(t, store, localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), WithMaxTenants(10))
	f := &fleet{ring: ringOver(t, store, kek, options...), tenants: make([]*Tenant, n)}
	var group errgroup.Group
	group.SetLimit(64)
	for i := range n {
		group.Go(func() error {
			id := fmt.Sprint("tenant-", i)
			made, err := maker.Tenant(context.Background(), id)
			if err == nil {
				err = works(made)
			}
			if err != nil {
				return err
			}
			f.tenants[i], err = f.ring.Tenant(context.Background(), id)
			for ; err != nil; f.tenants[i], err = f.ring.Tenant(context.Background(), id) {
				time.Sleep(time.Second) // as a client that tries again
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	maker.Close()
	return f
}

// use uses every tenant whose keys are in memory twice a minute, and returns how many there are at the end.
func (f *fleet) use(d time.Duration) (unlocked int) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		time.Sleep(30 * time.Second)
		unlocked = 0
		for _, tenant := range f.tenants {
			if s := tenant.state.Load(); s != nil {
				unlocked++
				s.used.Store(true)
			}
		}
	}
	return unlocked
}

// With ten thousand tenants and a KMS that permits 100 calls per second, an outage and a period of throttling cause
// no storm of calls and lose no keys, and the keyring recovers within a minute.
func TestTenThousandTenantsSurviveAnOutage(t *testing.T) {
	const allowed = 100
	n := 10_000
	if raceEnabled {
		n = 1000 // the detector makes it slow
	}
	synctest.Test(t, func(t *testing.T) {
		kek := newLimited(t, float64(allowed))
		f := newFleet(t, keystoretest.NewMemory(), kek, n)
		healthy := func(when string) {
			t.Helper()
			since, err := f.ring.KEKHealth()
			if err != nil { // a single throttled call, of a pace that is being probed
				require.ErrorIs(t, err, kms.ErrThrottled, when)
				require.WithinDuration(t, time.Now(), since, 5*time.Second, when)
			}
		}
		most, calls, _ := kek.between(time.Now().Add(-10 * time.Minute))
		t.Logf("unlocking: %d calls, at most %d a second", calls, most)
		require.LessOrEqual(t, most, 2*allowed)
		require.Equal(t, n, f.use(30*time.Minute))
		healthy("before the outage")

		begun := time.Now()
		kek.down.Store(true)
		require.Equal(t, n, f.use(20*time.Minute), "no keys are lost in an outage")
		most, calls, _ = kek.between(begun)
		t.Logf("outage: %d calls in 20 minutes, at most %d a second", calls, most)
		require.LessOrEqual(t, most, 10, "one call at a time probes")
		require.Less(t, calls, 600)
		_, err := f.ring.KEKHealth()
		require.ErrorIs(t, err, kms.ErrUnavailable)

		ended := time.Now()
		kek.down.Store(false)
		require.Equal(t, n, f.use(time.Minute))
		healthy("a minute after the outage")
		_, _, good := kek.between(ended)
		t.Logf("recovery: %d renewals in the first minute", good)
		require.GreaterOrEqual(t, good, min(n*9/10, 30*allowed), "half of what the KMS allows is used")
		require.Equal(t, n, f.use(37*time.Minute)) // until the next renewals
		most, _, _ = kek.between(ended)
		t.Logf("recovery: at most %d calls a second", most)
		require.LessOrEqual(t, most, allowed*3/2)

		begun = time.Now()
		kek.allowed.SetLimit(1)
		require.Equal(t, n, f.use(10*time.Minute))
		most, calls, _ = kek.between(begun.Add(10 * time.Second))
		t.Logf("throttling: %d calls in 10 minutes, at most %d a second", calls, most)
		require.LessOrEqual(t, most, 20)
		kek.allowed.SetLimit(rate.Limit(allowed))
		ended = time.Now()
		require.Equal(t, n, f.use(time.Minute))
		healthy("a minute after the throttling")
		require.Equal(t, n, f.use(time.Hour))
		most, _, _ = kek.between(ended)
		require.LessOrEqual(t, most, allowed*3/2)
		_, missed := f.ring.CacheStats()
		require.Less(t, missed, uint64(2*n), "no use waited for the KMS after the start")
	})
}

// soakTenants returns the number of tenants in the tests of fleets: few, or as many as "make soak" sets.
func soakTenants(t *testing.T) int {
	if text := os.Getenv("COFFER_SOAK_UNLOCKED"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		return n
	}
	return 300
}

// Every server refuses a shredded tenant within three seconds, however many tenants it has unlocked.
func TestShredReachesAllServers(t *testing.T) {
	const servers, within = 5, 3 * time.Second
	redis := redistest.Start(t)
	n, kek := soakTenants(t), localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	var fleets []*fleet
	for range servers {
		fleets = append(fleets, newFleet(t, rediskeys.New(redis.Client(t)), kek, n))
	}
	slowest := time.Duration(0)
	for round, id := range []string{"tenant-0", fmt.Sprint("tenant-", n/2), fmt.Sprint("tenant-", n-1)} {
		begun := time.Now()
		require.NoError(t, fleets[round].ring.Shred(t.Context(), id))
		for _, f := range fleets {
			tenant, err := f.ring.Tenant(t.Context(), id)
			require.NoError(t, err)
			_, err = tenant.Primary(t.Context(), format.UseCache, classify.PHI)
			for ; err == nil; _, err = tenant.Primary(t.Context(), format.UseCache, classify.PHI) {
				time.Sleep(10 * time.Millisecond)
				require.Less(t, time.Since(begun), time.Minute)
			}
			require.True(t, err == envelope.ErrKeyDestroyed || err == envelope.ErrKeyUnusable, err)
		}
		slowest = max(slowest, time.Since(begun))
	}
	t.Logf("%d servers with %d unlocked tenants each: the slowest shredding was seen after %s", servers, n, slowest)
	if os.Getenv("COFFER_SOAK_UNLOCKED") != "" {
		require.Less(t, slowest, within)
	}
}
