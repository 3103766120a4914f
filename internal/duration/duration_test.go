package duration_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/duration"
)

func TestParseAcceptsDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "0d": 0, "7d": 7 * duration.Day, "1d12h": 36 * time.Hour, "106751d": 106751 * duration.Day,
		"-1h": -time.Hour, "1d0s": duration.Day,
	} {
		got, err := duration.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "d", "-7d", "+7d", "1.5d", "7d-1h", "7d+1h", "12h7d", "106752d", "106751d24h", "7 d", "7D", "1d2d", "7", "seven", "99999999999999999999d"} {
		_, err := duration.Parse(text)
		require.ErrorIs(t, err, duration.ErrInvalid, text)
	}
}

func TestFormatIsParsedBack(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 7 * duration.Day: "7d", 36 * time.Hour: "1d12h", 90 * time.Minute: "1h30m", time.Minute: "1m", 1500 * time.Millisecond: "1.5s",
		duration.Day + 10*time.Second: "1d10s", 10 * time.Hour: "10h", 20 * time.Minute: "20m",
	} {
		require.Equal(t, want, duration.Format(d))
		back, err := duration.Parse(want)
		require.NoError(t, err)
		require.Equal(t, d, back)
	}
}
