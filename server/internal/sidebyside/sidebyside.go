// Package sidebyside measures two ways of doing the same in one benchmark, in turns of about a millisecond, so that whatever else the
// machine does meanwhile hits both alike. What it reports is the ratio of the medians.
package sidebyside

import (
	"slices"
	"testing"
	"time"
)

const turn = time.Millisecond

// Run reports the metrics raw-ns/op, ours-ns/op and ratio: how many of the raw operations per second ours reaches, 1 being as fast.
func Run(b *testing.B, raw, ours func() error) {
	b.Helper()
	chunk := calibrate(b, raw)
	var rawTurns, oursTurns []time.Duration
	for odd := false; b.Loop(); odd = !odd {
		if odd {
			oursTurns = append(oursTurns, measure(b, chunk, ours))
		}
		rawTurns = append(rawTurns, measure(b, chunk, raw))
		if !odd {
			oursTurns = append(oursTurns, measure(b, chunk, ours))
		}
	}
	r, o := median(rawTurns)/float64(chunk), median(oursTurns)/float64(chunk)
	b.ReportMetric(r, "raw-ns/op")
	b.ReportMetric(o, "ours-ns/op")
	b.ReportMetric(r/o, "ratio")
}

// calibrate warms up and finds how many operations fill a turn.
func calibrate(b *testing.B, f func() error) int {
	for chunk := 1; ; chunk *= 2 {
		if measure(b, chunk, f) >= turn {
			return chunk
		}
	}
}

func measure(b *testing.B, n int, f func() error) time.Duration {
	start := time.Now()
	for range n {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2])
}
