// Package server holds the benchmarks of the Go side against what one would write without Coffer: raw GCM,
// and raw go-redis. Run them with -benchtime=1x: each takes the time it needs.
package server

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	turn     = 4 * time.Millisecond // long against the clock, short against what else the machine does
	duration = 3 * time.Second      // of one comparison
)

// serverTurn is the turn of a comparison of servers: many requests of each connection, so that neither the beginning nor the end, at
// which only some of them are busy, nor the garbage of the other's turn counts.
const serverTurn = 50 * time.Millisecond

// run does an operation n times.
type run func(n int) error

// each makes a run of one operation.
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

// compare measures in rounds of one turn each, in random order, and reports the median over the rounds of the
// raw time divided by ours:
// 1 is as fast as raw. Whatever slows the machine down slows both turns of a round.
func compare(b *testing.B, raw, ours run) {
	b.Helper()
	compareInTurns(b, turn, raw, ours)
}

// compareInTurns is compare with turns of another length.
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

// calibrate warms up both and finds how many operations fill a turn.
func calibrate(b *testing.B, length time.Duration, raw, ours run) int {
	for n := 1; ; n *= 2 {
		measure(b, n, ours)
		if took := measure(b, n, raw); took >= float64(length) {
			return n
		}
	}
}

// measure gives the nanoseconds that n operations took.
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
