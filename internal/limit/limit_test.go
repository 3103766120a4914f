package limit_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/shared/codes"
)

// clock is a stopped clock that tests advance.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func requireWait(t *testing.T, err error, seconds int) {
	t.Helper()
	require.ErrorIs(t, err, limit.ErrRateLimited)
	got, ok := limit.RetryAfter(fmt.Errorf("wrapped: %w", err))
	require.True(t, ok)
	require.Equal(t, seconds, got)
	row := codes.Of(err)
	require.Equal(t, "rate_limited", row.Code)
	require.Equal(t, 429, row.Status)
	require.True(t, row.Retry)
}

func TestRetryAfterRoundsUp(t *testing.T) {
	for wait, seconds := range map[time.Duration]int{0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, time.Minute: 60} {
		t.Run(wait.String(), func(t *testing.T) {
			requireWait(t, &limit.Refusal{Wait: wait}, seconds)
		})
	}
	for _, other := range []error{nil, errors.New("x"), limit.ErrRateLimited} {
		_, ok := limit.RetryAfter(other)
		require.False(t, ok)
	}
}

func TestChargedRequestsDelayLaterOnes(t *testing.T) {
	c := newClock()
	tenants := limit.NewTenants(limit.Quota{Rate: 2, Burst: 10}, c.now)
	tenants.Charge("a", 5) // the tenant has no request and is unknown
	for range 8 {
		_, err := tenants.Begin("a")
		require.NoError(t, err)
	}
	tenants.Charge("a", 6)
	tenants.Charge("a", 0)
	_, err := tenants.Begin("a")
	requireWait(t, err, 3) // a debt of four requests, and one more
	c.advance(3 * time.Second)
	_, err = tenants.Begin("a")
	require.NoError(t, err)

	_, err = tenants.Begin("b")
	require.NoError(t, err, "tenants do not share")
	tenants.Charge("b", 1000)
	_, err = tenants.Begin("b")
	requireWait(t, err, 1) // a request is charged at most a burst
}

func TestTenantsHaveSeparateRates(t *testing.T) {
	c := newClock()
	tenants := limit.NewTenants(limit.Quota{Rate: 0.5, Burst: 3}, c.now)
	for range 3 {
		_, err := tenants.Begin("a")
		require.NoError(t, err)
	}
	for range 100 { // refused requests cost nothing
		_, err := tenants.Begin("a")
		requireWait(t, err, 2)
	}
	_, err := tenants.Begin("b")
	require.NoError(t, err, "tenants do not share")

	c.advance(1500 * time.Millisecond)
	_, err = tenants.Begin("a")
	requireWait(t, err, 1)
	c.advance(500 * time.Millisecond)
	_, err = tenants.Begin("a")
	require.NoError(t, err, "the request is accepted after Retry-After")
	_, err = tenants.Begin("a")
	requireWait(t, err, 2)

	c.advance(time.Hour)
	for range 3 {
		_, err := tenants.Begin("a")
		require.NoError(t, err)
	}
	_, err = tenants.Begin("a")
	requireWait(t, err, 2)
}

func TestTenantsHaveSeparateConcurrency(t *testing.T) {
	tenants := limit.NewTenants(limit.Quota{Concurrent: 2}, nil)
	first, err := tenants.Begin("a")
	require.NoError(t, err)
	_, err = tenants.Begin("a")
	require.NoError(t, err)
	_, err = tenants.Begin("a")
	requireWait(t, err, 1)
	_, err = tenants.Begin("b")
	require.NoError(t, err)
	first()
	_, err = tenants.Begin("a")
	require.NoError(t, err)
}

// No more requests run than the quota allows, and all of them end.
func TestConcurrencyNeverExceedsQuota(t *testing.T) {
	tenants := limit.NewTenants(limit.Quota{Concurrent: 4}, nil)
	var mu sync.Mutex
	var running, most, let int
	add := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		running += n
		most = max(most, running)
		let += max(n, 0)
	}
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 200 {
				if end, err := tenants.Begin("a"); err == nil {
					add(1)
					add(-1)
					end()
				}
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most, 4)
	require.Positive(t, let)
	for range 4 {
		_, err := tenants.Begin("a")
		require.NoError(t, err, "no request was lost")
	}
}

func TestZeroQuotaIsUnlimited(t *testing.T) {
	tenants := limit.NewTenants(limit.Quota{}, nil)
	for range 1000 {
		_, err := tenants.Begin("a")
		require.NoError(t, err)
	}
}

var address = netip.MustParseAddr("203.0.113.7")

func TestWrongTokensAreBlocked(t *testing.T) {
	c := newClock()
	failures := limit.NewFailures(5, c.now)
	for range 6 {
		require.NoError(t, failures.RecordFailure(address), "the allowed failures and the next one are not blocked")
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		for range 2 { // wrong tokens in the meantime do not count
			err := failures.RecordFailure(address)
			requireWait(t, err, seconds)
			require.ErrorIs(t, err, limit.ErrWrongTokens)
			require.ErrorContains(t, err, "too many wrong tokens came from this address")
		}
		c.advance(time.Duration(seconds)*time.Second - time.Nanosecond)
		requireWait(t, failures.RecordFailure(address), 1)
		c.advance(time.Nanosecond)
		require.NoError(t, failures.RecordFailure(address))
	}
	require.NoError(t, failures.RecordFailure(netip.MustParseAddr("203.0.113.8")), "other addresses are not blocked")

	c.advance(2 * time.Minute)
	for range 2 {
		require.NoError(t, failures.RecordFailure(address), "a minute without failures resets the block")
	}
}

// The number of guesses per hour that are checked is limited for an address that sends as many as it can.
func TestGuessesPerHourAreLimited(t *testing.T) {
	c := newClock()
	failures := limit.NewFailures(10, c.now)
	tried := 0
	for end := c.now().Add(time.Hour); c.now().Before(end); c.advance(100 * time.Millisecond) {
		if failures.RecordFailure(address) == nil {
			tried++
		}
	}
	require.Less(t, tried, 80)
}

func TestSlowFailuresAreNotBlocked(t *testing.T) {
	c := newClock()
	failures := limit.NewFailures(5, c.now)
	for range 1000 {
		require.NoError(t, failures.RecordFailure(address))
		c.advance(15 * time.Second)
	}
}

func TestNetworkOfOneClient(t *testing.T) {
	for name, c := range map[string]struct {
		failing, asking string
		same            bool
	}{
		"IPv4":              {"192.0.2.1", "192.0.2.1", true},
		"IPv4 neighbours":   {"192.0.2.1", "192.0.2.2", false},
		"IPv4 within IPv6":  {"::ffff:192.0.2.1", "192.0.2.1", true},
		"mapped neighbours": {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		"one IPv6 network":  {"2001:db8::1", "2001:db8::ffff:1", true},
		"two IPv6 networks": {"2001:db8::1", "2001:db8:0:1::1", false},
		"zones":             {"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		t.Run(name, func(t *testing.T) {
			failures := limit.NewFailures(0, nil)
			require.NoError(t, failures.RecordFailure(netip.MustParseAddr(c.failing)))
			require.Equal(t, c.same, failures.RecordFailure(netip.MustParseAddr(c.asking)) != nil)
		})
	}
	failures := limit.NewFailures(0, nil)
	require.NoError(t, failures.RecordFailure(netip.Addr{}))
	require.Error(t, failures.RecordFailure(netip.Addr{}))
	require.NoError(t, failures.RecordFailure(address))
}
