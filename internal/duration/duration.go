// Package duration parses and formats durations that may contain days. Settings, flags and the HTTP API use it, so that
// they share one syntax.
package duration

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours.
const Day = 24 * time.Hour

// maxDays is the maximum number of days in a time.Duration.
const maxDays = uint64((1<<63 - 1) / Day)

// ErrInvalid reports that a text is not a duration. It does not quote the text, which may be a misplaced secret.
var ErrInvalid = errors.New("not a duration: write it like 90s, 15m, 12h, 7d or 1d12h")

// Parse parses a duration of package time, a number of whole days such as 90d, or both, such as 1d12h. A sign is only
// accepted without days.
func Parse(text string) (time.Duration, error) {
	days, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, ErrInvalid
		}
		return d, nil
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil || n > maxDays {
		return 0, ErrInvalid
	}
	d := time.Duration(n) * Day
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || rest[0] == '-' || rest[0] == '+' || d+more < d {
		return 0, ErrInvalid
	}
	return d + more, nil
}

// Format formats a duration as Parse accepts it. It uses days if there are any, and omits parts that are zero.
func Format(d time.Duration) string {
	text := ""
	if d >= Day {
		text, d = strconv.FormatInt(int64(d/Day), 10)+"d", d%Day
		if d == 0 {
			return text
		}
	}
	rest := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(rest, zero) {
			rest = rest[:len(rest)-2]
		}
	}
	return text + rest
}
