package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
)

// faulty is a disk that fails, takes a part, or hangs, as told.
type faulty struct {
	mu    sync.Mutex
	data  bytes.Buffer
	err   error
	take  int // bytes that a failing write still writes
	hang  chan struct{}
	syncs int
}

func (d *faulty) Write(p []byte) (int, error) {
	if d.hang != nil {
		<-d.hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		n, _ := d.data.Write(p[:min(d.take, len(p))])
		return n, d.err
	}
	return d.data.Write(p)
}

func (d *faulty) Sync() error  { d.mu.Lock(); defer d.mu.Unlock(); d.syncs++; return nil }
func (d *faulty) Close() error { return nil }

func (d *faulty) fail(err error, take int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.take = err, take
}

func (d *faulty) read() (lines []record, broken int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for line := range strings.Lines(d.data.String()) {
		var r record
		if json.Unmarshal([]byte(line), &r) != nil {
			broken++
			continue
		}
		lines = append(lines, r)
	}
	return lines, broken
}

func startFaulty(t *testing.T, d *faulty, options Options) *File {
	t.Helper()
	options.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	f := start(d, false, &Key{}, options)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

var opened = Event{Action: KeyOpen, Class: classify.PHI, RequestID: "one"}

// A disk that was full and has room again: the line that it cut short is ended, the gap is told, and what follows is whole.
func TestRecovery(t *testing.T) {
	d := &faulty{}
	f := startFaulty(t, d, Options{})
	require.NoError(t, f.Record(t.Context(), opened))
	d.fail(errors.New("full"), 10)
	require.ErrorIs(t, f.Record(t.Context(), opened, opened), ErrUnavailable)
	d.fail(errors.New("full"), 0)
	require.ErrorIs(t, f.Record(t.Context(), opened), ErrUnavailable)
	require.ErrorIs(t, f.Ready(t.Context()), ErrUnavailable)
	d.fail(nil, 0)
	require.NoError(t, f.Ready(t.Context()))
	require.NoError(t, f.Record(t.Context(), opened))

	lines, broken := d.read()
	require.Equal(t, 1, broken)
	require.Len(t, lines, 3)
	require.Equal(t, "audit.resumed", lines[1].Action)
	require.EqualValues(t, 3, lines[1].Lost)
	require.Equal(t, Notice, lines[1].Severity)
	require.Equal(t, "key.open", lines[2].Action)
}

// A disk that hangs holds nobody longer than the time-out, and everything that waited is refused.
func TestHangingDisk(t *testing.T) {
	d := &faulty{hang: make(chan struct{})}
	f := startFaulty(t, d, Options{Timeout: 50 * time.Millisecond})
	var wg sync.WaitGroup
	begin := time.Now()
	for range 3 * queued {
		wg.Go(func() {
			if err := f.Record(t.Context(), opened); !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Less(t, time.Since(begin), 10*time.Second)
	close(d.hang)
	require.Eventually(t, func() bool { return f.Record(t.Context(), opened) == nil }, 10*time.Second, time.Millisecond)
}

// What must be on the disk is there before Record returns; what need not be costs no sync.
func TestSync(t *testing.T) {
	for _, c := range []struct {
		policy         Sync
		ordinary, rest int
	}{{SyncNotable, 0, 1}, {SyncAll, 1, 1}, {SyncLater, 0, 0}} {
		d := &faulty{}
		w := &writer{f: &File{file: d, key: &Key{}, options: Options{Sync: c.policy}}}
		record := func(e Event) int {
			before, done := d.syncs, make(chan error, 1)
			w.group(w.f.batch([]Event{e}, done))
			require.NoError(t, <-done)
			return d.syncs - before
		}
		require.Equal(t, c.ordinary, record(opened))
		require.Equal(t, c.rest, record(Event{Action: TokenCreate}))
		require.Equal(t, c.rest, record(Event{Action: KeyOpen, Code: "authentication_failed"}))
		record(opened)
		w.sync()
		require.False(t, w.dirty, "the rest follows")
	}
}

// Who waits together is written together.
func TestGroups(t *testing.T) {
	d := &faulty{}
	f := &File{file: d, key: &Key{}, options: Options{Sync: SyncAll}, queue: make(chan batch, queued)}
	w := &writer{f: f}
	done := make(chan error, 11)
	for range 10 {
		f.queue <- f.batch([]Event{opened}, done)
	}
	w.group(f.batch([]Event{opened}, done))
	require.Len(t, done, 11)
	require.Equal(t, 1, d.syncs)
	lines, broken := d.read()
	require.Len(t, lines, 11)
	require.Zero(t, broken)
}

func TestEveryActionHasAName(t *testing.T) {
	seen := map[string]bool{}
	for a := Action(1); int(a) < numberOfActions; a++ {
		require.Regexp(t, `^[a-z]+\.[a-z]+$`, a.String())
		require.False(t, seen[a.String()])
		seen[a.String()] = true
	}
	for fact := Fact(1); int(fact) < numberOfFacts; fact++ {
		require.Regexp(t, `^[a-z]+$`, facts[fact])
		require.False(t, seen[facts[fact]])
		seen[facts[fact]] = true
	}
	require.Equal(t, "unknown", Action(0).String())
	require.Equal(t, "unknown", Action(numberOfActions).String())
}

func TestBoundedCutsBetweenCharacters(t *testing.T) {
	require.Equal(t, strings.Repeat("a", 254), bounded(strings.Repeat("a", 254)+"é"))
	require.Equal(t, "é", bounded("é"))
}
