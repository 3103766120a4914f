package clock_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/clock"
)

const decade = 10 * 365 * 24 * time.Hour

// No step of the system's clock makes a new value look old, at whichever of these times it is created and checked. A
// value that is too old by both readings has expired.
func TestClockStepsAgeNoValue(t *testing.T) {
	t.Parallel()
	real := time.Now()
	at := func(step time.Duration) *clock.Clock {
		return clock.New(func() time.Time { return real.Add(step) }, func() time.Time { return real })
	}
	steps := []time.Duration{-decade, -time.Hour, 0, time.Hour, decade}
	for _, written := range steps {
		for _, read := range steps {
			date := at(written).Date()
			require.False(t, at(read).SurelyExpired(date, time.Minute), "written at %s, read at %s", written, read)
			require.GreaterOrEqual(t, at(read).Left(date, time.Minute), time.Minute)
		}
	}
	ahead := clock.New(func() time.Time { return real.Add(time.Hour) }, func() time.Time { return real.Add(time.Hour) })
	require.True(t, ahead.SurelyExpired(real, time.Minute))
	require.Equal(t, -59*time.Minute, ahead.Left(real, time.Minute))
	require.False(t, ahead.SurelyExpired(real, 46*time.Minute), "the clocks of servers differ")
	require.False(t, ahead.SurelyExpired(real, 0), "no limit")
}

func TestExtremeDatesDoNotOverflow(t *testing.T) {
	t.Parallel()
	for _, date := range []int64{0, 1, math.MaxInt64 / 4, 253402300799999} {
		left := clock.System.Left(time.UnixMilli(date), 24*time.Hour)
		require.Equal(t, time.UnixMilli(date).After(time.Now()), left > 0, "%d: %s", date, left)
	}
	require.WithinDuration(t, time.Now(), clock.System.Date(), time.Minute)
}
