// Package mirror copies the lines of the audit log to standard output or to a Redis stream.
//
// It guarantees that copying never delays or fails the log itself. Lines wait in a bounded buffer, and one goroutine
// sends them. Lines that cannot be copied, because the sink fails, is slow, or the buffer is full, are counted as lost.
// The log's files are the record; a copy may have gaps, which the sequence numbers of the lines reveal.
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
	maxPending   = 4 << 20 // bytes in the buffer
	sendTimeout  = 5 * time.Second
	closeTimeout = 2 * time.Second // how long Close waits
	linesPerCall = 256             // lines in one pipeline
)

// StreamKey is the key of the Redis stream, and MaxStreamLines is about how many lines it keeps. Each entry has one
// field, "line".
const (
	StreamKey      = "coffer:audit"
	MaxStreamLines = 100_000
)

// Sink sends lines, which have no newlines and are valid only during the call. After an error, some of them may have
// arrived.
type Sink func(ctx context.Context, lines [][]byte) error

// ToRedis returns a sink that adds each line to the stream.
func ToRedis(store *rediskv.Store) Sink {
	return func(ctx context.Context, lines [][]byte) (err error) {
		for ; len(lines) > 0 && err == nil; lines = lines[min(linesPerCall, len(lines)):] {
			err = store.AppendStream(ctx, StreamKey, "line", lines[:min(linesPerCall, len(lines))], MaxStreamLines)
		}
		return err
	}
}

// ToWriter returns a sink that writes each line with a newline.
func ToWriter(w io.Writer) Sink {
	return func(_ context.Context, lines [][]byte) error {
		_, err := w.Write(append(bytes.Join(lines, []byte{'\n'}), '\n'))
		return err
	}
}

// Mirror copies lines to a sink. It is safe for concurrent use.
type Mirror struct {
	sink  Sink
	lost  func(lines int) // called with the number of lines that may be missing from the copy
	log   *slog.Logger    // reports when copying fails and when it works again
	wake  chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	pending []byte // lines with their newlines
	closed  bool
}

// New starts copying to a sink. It calls lost with the number of lines that may be missing from the copy. New starts a
// goroutine. The caller must call Close, which ends it.
func New(sink Sink, lost func(lines int), log *slog.Logger) *Mirror {
	m := &Mirror{sink: sink, lost: lost, log: log, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go m.run()
	return m
}

// Copy queues lines, each with a newline, and returns at once. It does not keep the slice.
func (m *Mirror) Copy(lines []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.pending)+len(lines) > maxPending {
		m.lost(bytes.Count(lines, []byte{'\n'}))
		return
	}
	m.pending = append(m.pending, lines...)
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Close sends the queued lines and ends the goroutine. It waits for at most two seconds; after that, a sink that hangs
// is abandoned.
func (m *Mirror) Close() {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.wake)
	}
	m.mu.Unlock()
	select {
	case <-m.ended:
	case <-time.After(closeTimeout):
	}
}

// run logs when copying begins to fail or works again, not for every line.
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
	batch := m.pending
	m.pending = nil
	m.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	lines := bytes.Split(bytes.TrimSuffix(batch, []byte{'\n'}), []byte{'\n'})
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	err := m.sink(ctx, lines)
	if err != nil {
		m.lost(len(lines))
	}
	return err
}
