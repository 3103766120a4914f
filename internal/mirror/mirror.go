// Package mirror copies the audit log's lines to where others read them: standard output, or a Redis stream.
//
// It guarantees that a copy never holds up or fails the log: lines wait in memory of a bounded size, one
// goroutine sends them, and lines that cannot be copied, because the other side is away, slow or full, are
// counted as lost. The log's file is the record; a copy may have gaps, which the lines' numbers show.
package mirror

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

const (
	maxWaiting  = 4 << 20 // bytes that wait
	sendTimeout = 5 * time.Second
	lastTimeout = 2 * time.Second // how long Close waits
	perCall     = 256             // lines of one pipeline
)

// Stream is the Redis stream's key, and MaxStream about how many lines it keeps. Each entry has one field, line.
const (
	StreamKey      = "coffer:audit"
	MaxStreamLines = 100_000
)

// Sink sends lines, each without its newline and valid for the call only. After an error, some of them may have arrived.
type Sink func(ctx context.Context, lines [][]byte) error

// ToRedis adds each line to the stream.
func ToRedis(store *rediskv.Store) Sink {
	return func(ctx context.Context, lines [][]byte) (err error) {
		for ; len(lines) > 0 && err == nil; lines = lines[min(perCall, len(lines)):] {
			err = store.AppendStream(ctx, StreamKey, "line", lines[:min(perCall, len(lines))], MaxStreamLines)
		}
		return err
	}
}

// ToWriter writes the lines as they are.
func ToWriter(w io.Writer) Sink {
	return func(_ context.Context, lines [][]byte) error {
		_, err := w.Write(append(bytes.Join(lines, []byte{'\n'}), '\n'))
		return err
	}
}

// Mirror copies lines. It is safe for concurrent use.
type Mirror struct {
	sink  Sink
	lost  func(lines int) // counts lines that may not be in the copy
	log   *slog.Logger    // receives failures of the copy, and their end
	wake  chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	waiting []byte // lines with their newlines
	closed  bool
}

// New begins to copy to a sink. It calls lost with the number of lines that may not be in the copy. Call Close, which ends its
// goroutine.
func New(sink Sink, lost func(lines int), log *slog.Logger) *Mirror {
	m := &Mirror{sink: sink, lost: lost, log: log, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go m.run()
	return m
}

// Copy takes lines with their newlines, and returns at once. It keeps nothing of its argument.
func (m *Mirror) Copy(lines []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.waiting)+len(lines) > maxWaiting {
		m.lost(bytes.Count(lines, []byte{'\n'}))
		return
	}
	m.waiting = append(m.waiting, lines...)
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Close copies the lines that wait, for two seconds at the longest, and ends. It leaves a sink that hangs longer.
func (m *Mirror) Close() {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.wake)
	}
	m.mu.Unlock()
	select {
	case <-m.ended:
	case <-time.After(lastTimeout):
	}
}

// run writes to the server's log when the state changes, not with every line.
func (m *Mirror) run() {
	defer close(m.ended)
	failing := false
	for open := true; open; {
		_, open = <-m.wake
		err := m.send()
		switch {
		case err != nil && !failing:
			m.log.Error("the audit log cannot be copied", "error", err)
		case err == nil && failing:
			m.log.Warn("the audit log is copied again")
		}
		failing = err != nil
	}
}

func (m *Mirror) send() error {
	m.mu.Lock()
	taken := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	lines := bytes.Split(bytes.TrimSuffix(taken, []byte{'\n'}), []byte{'\n'})
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	err := m.sink(ctx, lines)
	if err != nil {
		m.lost(len(lines))
	}
	return err
}
