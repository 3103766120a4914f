package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	maxLogWaiting  = 4 << 20     // bytes that wait to be written
	keptLogBuffer  = 64 << 10    // bytes of the largest buffer that is reused
	lastLogTimeout = time.Second // how long Close waits
)

// logQueue writes the server's log to standard error. A reader that stops reading must not block requests, so Write never blocks: lines wait
// in memory for a goroutine that writes them, and a full queue drops and counts further lines. It is safe for concurrent use.
type logQueue struct {
	to    io.Writer
	wake  chan struct{}
	ended chan struct{}

	mu       sync.Mutex
	waiting  []byte
	spare    []byte // an empty buffer that replaces waiting
	writing  int    // bytes that the goroutine is writing
	dropped  int    // lines, since the start
	reported int    // number of dropped lines that the log has a warning about
	closed   bool
}

// newLogQueue starts a goroutine that writes to a stream. The caller closes the queue.
func newLogQueue(to io.Writer) *logQueue {
	q := &logQueue{to: to, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go q.run()
	return q
}

// Write implements io.Writer. Lines must be whole. It never fails.
func (q *logQueue) Write(lines []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.writing+len(q.waiting)+len(lines) > maxLogWaiting {
		q.dropped += bytes.Count(lines, []byte{'\n'})
		return len(lines), nil
	}
	q.waiting = append(q.waiting, lines...)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return len(lines), nil
}

// Dropped returns the number of lines that were not written.
func (q *logQueue) Dropped() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close writes the waiting lines and ends the goroutine. If the stream blocks, Close returns after a second.
func (q *logQueue) Close() error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.wake)
	}
	q.mu.Unlock()
	select {
	case <-q.ended:
	case <-time.After(lastLogTimeout):
	}
	return nil
}

func (q *logQueue) run() {
	defer close(q.ended)
	warn := slog.New(slog.NewJSONHandler(q.to, nil)) // not through the queue, and at any COFFER_LOG_LEVEL
	for open := true; open; {
		_, open = <-q.wake
		if dropped := q.send(); dropped > 0 {
			warn.Warn("lines of this log were dropped because standard error was not read, or could not be written", "lines", dropped)
		}
	}
}

// send writes the waiting lines. It returns the number of lines that were dropped before and not reported yet; 0 if the stream cannot be
// written.
func (q *logQueue) send() (dropped int) {
	q.mu.Lock()
	lines, before := q.waiting, q.dropped // the lines dropped so far are older than the next warning
	q.waiting, q.spare, q.writing = q.spare, nil, len(lines)
	q.mu.Unlock()

	var err error
	if len(lines) > 0 {
		_, err = q.to.Write(lines)
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = 0
	if cap(lines) <= keptLogBuffer {
		q.spare = lines[:0]
	}
	if err != nil {
		q.dropped += bytes.Count(lines, []byte{'\n'})
		return 0
	}
	dropped = before - q.reported
	q.reported = before
	return dropped
}
