package mirror

import (
	"bytes"
	"context"
	"io"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// Stream is the Redis stream's key, and MaxStream about how many lines it keeps. Each entry has one field, line.
const (
	Stream    = "coffer:audit"
	MaxStream = 100_000
)

const perCall = 256 // lines of one pipeline

// ToRedis adds each line to the stream.
func ToRedis(store *rediskv.Store) Sink { return stream{store} }

type stream struct{ store *rediskv.Store }

// Send implements Sink.
func (s stream) Send(ctx context.Context, lines [][]byte) error {
	for len(lines) > 0 {
		some := lines[:min(perCall, len(lines))]
		if err := s.store.AppendStream(ctx, Stream, "line", some, MaxStream); err != nil {
			return err
		}
		lines = lines[len(some):]
	}
	return nil
}

// ToWriter writes the lines as they are.
func ToWriter(w io.Writer) Sink { return writer{w} }

type writer struct{ w io.Writer }

// Send implements Sink.
func (w writer) Send(_ context.Context, lines [][]byte) error {
	_, err := w.w.Write(append(bytes.Join(lines, []byte{'\n'}), '\n'))
	return err
}
