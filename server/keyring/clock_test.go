package keyring

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// The clock on which more time has passed counts.
func TestMomentUsesTheFasterClock(t *testing.T) {
	begun := moment{monotonic: time.Hour, wall: 50 * 365 * 24 * time.Hour}
	for name, c := range map[string]struct{ monotonic, wall, want time.Duration }{
		"both went on":                  {time.Minute, time.Minute, time.Minute},
		"the machine was suspended":     {time.Minute, time.Hour, time.Hour},
		"the clock was put back a day":  {time.Minute, -24 * time.Hour, time.Minute},
		"the clock was put ahead a day": {time.Minute, 24 * time.Hour, 24 * time.Hour},
	} {
		require.Equal(t, c.want, moment{begun.monotonic + c.monotonic, begun.wall + c.wall}.since(begun), name)
	}
}

// A use finds that keys expired at most a second late, even if the timer that drops them did not run, as in a process
// that was stopped.
func TestKeysExpireWithoutTheTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kek := newFlaky(t)
		r := ringOver(t, keystoretest.NewMemory(), kek, WithTTL(time.Hour))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		uses := func() (calls int64) {
			tenant.mu.Lock()
			tenant.timer.Stop()
			tenant.mu.Unlock()
			before := kek.calls.Load()
			_, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
			require.NoError(t, err)
			return kek.calls.Load() - before
		}
		uses()
		time.Sleep(time.Hour - 2*clockInterval)
		require.Zero(t, uses())
		time.Sleep(3 * clockInterval)
		require.Positive(t, uses())
		r.Close()
		uses() // unlocked again
		time.Sleep(time.Hour)
		require.Positive(t, uses(), "the clock does not stand still after Close")
	})
}
