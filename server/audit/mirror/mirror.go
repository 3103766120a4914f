// Package mirror copies the audit log's lines to where others read them: standard output, or a Redis stream.
//
// It guarantees that a copy never holds up or fails the log: lines wait in memory of a bounded size, one
// goroutine hands them on, and what cannot be copied, because the other side is away, slow or full, is
// counted as lost. The log's file is the record; a copy may have gaps, which the lines' numbers show.
package mirror

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	maxWaiting  = 4 << 20 // bytes that wait
	sendTimeout = 5 * time.Second
	lastTimeout = 2 * time.Second // what Close gives the lines that wait
)

// Sink takes lines, each without its newline and valid for the call only. An error says that none of them may be there.
type Sink interface {
	Send(ctx context.Context, lines [][]byte) error
}

// Options is what a Mirror tells of.
type Options struct {
	Lost func(lines int) // counts lines that may not be in the copy
	Log  *slog.Logger    // told when the copy fails and when it works again
}

// Mirror copies lines. It is safe for concurrent use.
type Mirror struct {
	sink    Sink
	options Options
	wake    chan struct{} // of room for one
	ended   chan struct{}

	mu      sync.Mutex
	waiting []byte // lines with their newlines
	closed  bool

	failing bool // of the goroutine
}

// New begins to copy to a sink.
func New(sink Sink, options Options) *Mirror {
	m := &Mirror{sink: sink, options: options, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go m.run()
	return m
}

// Copy takes lines with their newlines, and returns at once. It keeps nothing of what it is given.
func (m *Mirror) Copy(lines []byte) {
	m.mu.Lock()
	fits := !m.closed && len(m.waiting)+len(lines) <= maxWaiting
	if fits {
		m.waiting = append(m.waiting, lines...)
	}
	m.mu.Unlock()
	if !fits {
		m.options.Lost(len(split(lines)))
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Close copies what waits, for two seconds at the longest, and ends. A sink that hangs beyond that is left to itself.
func (m *Mirror) Close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed = true
	m.mu.Unlock()
	close(m.wake)
	select {
	case <-m.ended:
	case <-time.After(lastTimeout):
	}
}

func (m *Mirror) run() {
	defer close(m.ended)
	var buffer []byte
	for range m.wake {
		buffer = m.send(buffer)
	}
	m.send(buffer)
}

// send hands on what waits, and returns its memory for the next time.
func (m *Mirror) send(empty []byte) []byte {
	m.mu.Lock()
	taken := m.waiting
	m.waiting = empty[:0]
	m.mu.Unlock()
	lines := split(taken)
	if len(lines) == 0 {
		return taken
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	err := m.sink.Send(ctx, lines)
	if err != nil {
		m.options.Lost(len(lines))
	}
	m.remember(err)
	return taken
}

// remember tells the server's log when the state changes, not with every line.
func (m *Mirror) remember(err error) {
	switch {
	case err != nil && !m.failing:
		m.options.Log.Error("the audit log cannot be copied", "error", err)
	case err == nil && m.failing:
		m.options.Log.Warn("the audit log is copied again")
	}
	m.failing = err != nil
}

// split takes lines apart; an empty one ends what was cut short before it, and is none.
func split(text []byte) (lines [][]byte) {
	for line := range bytes.SplitSeq(text, []byte{'\n'}) {
		if len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}
