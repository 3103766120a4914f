// Package server benchmarks the Go side against hand-written baselines without Coffer, such as raw GCM and raw go-redis. Run
// the benchmarks with -benchtime=1x, because each chooses its own duration.
package server

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	turn     = 4 * time.Millisecond // long compared with the clock's resolution, short compared with other load on the machine
	duration = 3 * time.Second      // of one comparison
)

// serverTurn is the length of a turn when two servers are compared. It is long enough for many requests of each connection,
// so that the start and the end of a turn and the garbage of the other server's turn do not matter.
const serverTurn = 50 * time.Millisecond

// run performs an operation n times.
type run func(n int) error

// each returns a run that calls operation n times.
func each(f func() error) run {
	return func(n int) error {
		for range n {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	}
}

// compare measures both sides in rounds. In each round both have one turn, in random order, so that a slowdown of the
// machine affects both. It reports the median over the rounds of the raw time divided by our time: 1 means as fast as raw.
func compare(b *testing.B, raw, ours run) {
	b.Helper()
	compareInTurns(b, turn, raw, ours)
}

// compareInTurns is like compare, with turns of the given length.
func compareInTurns(b *testing.B, length time.Duration, raw, ours run) {
	b.Helper()
	n := calibrate(b, length, raw, ours)
	var ratios, rawTimes, ourTimes []float64
	for end := time.Now().Add(duration); time.Now().Before(end); {
		var rawTime, ourTime float64
		if rand.IntN(2) == 0 {
			rawTime = measure(b, n, raw)
			ourTime = measure(b, n, ours)
		} else {
			ourTime = measure(b, n, ours)
			rawTime = measure(b, n, raw)
		}
		ratios = append(ratios, rawTime/ourTime)
		rawTimes, ourTimes = append(rawTimes, rawTime), append(ourTimes, ourTime)
	}
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(ourTimes)/float64(n), "ours-ns/op")
	b.ReportMetric(median(rawTimes)/float64(n), "raw-ns/op")
}

// calibrate warms up both sides and returns how many operations each can perform in a turn.
func calibrate(b *testing.B, length time.Duration, raw, ours run) int {
	for n := 1; ; n *= 2 {
		measure(b, n, ours)
		if took := measure(b, n, raw); took >= float64(length) {
			return n
		}
	}
}

// measure returns the duration of n operations in nanoseconds.
func measure(b *testing.B, n int, f run) float64 {
	b.Helper()
	start := time.Now()
	if err := f(n); err != nil {
		b.Fatal(err)
	}
	return float64(time.Since(start))
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}
