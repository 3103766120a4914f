package audit

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
)

// faulty is a file that fails, takes a part, or hangs, as told.
type faulty struct {
	disk
	faults *faults
}

type faults struct {
	mu    sync.Mutex
	err   error
	take  int // bytes that a failing write still writes
	hang  chan struct{}
	syncs int

	writes, reads int
	syncing       chan struct{} // a sync waits for it, where it is not nil
}

func (d faulty) Write(p []byte) (int, error) {
	if d.faults.hang != nil {
		<-d.faults.hang
	}
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.writes++
	if d.faults.err != nil {
		n, _ := d.disk.Write(p[:min(d.faults.take, len(p))])
		return n, d.faults.err
	}
	return d.disk.Write(p)
}

func (d faulty) ReadAt(p []byte, offset int64) (int, error) {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.reads++
	return d.disk.ReadAt(p, offset)
}

func (d faulty) Sync() error {
	d.faults.mu.Lock()
	wait, err := d.faults.syncing, d.faults.err
	d.faults.syncs++
	d.faults.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return err
}

func (f *faults) open(path string) (disk, error) {
	file, err := openDisk(path)
	return faulty{file, f}, err
}

func (f *faults) fail(err error, take int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.take = err, take
}

func read(t *testing.T, path string) (lines []record, broken int) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(content)) {
		var r record
		if json.Unmarshal([]byte(line), &r) != nil {
			broken++
			continue
		}
		lines = append(lines, r)
	}
	return lines, broken
}

var testKey = func() *Key {
	k, err := newKey(make([]byte, keySize))
	if err != nil {
		panic(err)
	}
	return k
}()

func startFaulty(t *testing.T, d *faults, options Options) (*File, string) {
	t.Helper()
	options.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	path := filepath.Join(t.TempDir(), "audit.log")
	f, err := open(path, testKey, options, d.open)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f, path
}

// newWriter is one whose groups the test makes itself.
func newWriter(t *testing.T, d *faults, options Options) (*writer, string) {
	t.Helper()
	options.Log, options.Timeout = slog.New(slog.NewTextHandler(io.Discard, nil)), time.Minute
	path := filepath.Join(t.TempDir(), "audit.log")
	f := &File{path: path, key: testKey, options: options, wake: make(chan struct{}, 1)}
	w := &writer{f: f, trail: &trail{path: path, key: testKey, chain: testKey.newChain(), options: &f.options, open: d.open}}
	require.NoError(t, w.trail.start())
	t.Cleanup(func() { require.NoError(t, w.trail.close()) })
	return w, path
}

// write records events by a group of their own.
func (w *writer) write(t *testing.T, events ...Event) {
	t.Helper()
	g, err := w.f.join(w.f.batch(nil, events))
	require.NoError(t, err)
	w.group()
	<-g.done
	require.NoError(t, g.err)
}

var opened = Event{Action: KeyOpen, Class: classify.PHI, RequestID: "one"}

// A disk that was full and has room again: the line that it cut short is ended, the gap is told, and what
// follows is whole.
func TestRecovery(t *testing.T) {
	d := &faults{}
	f, path := startFaulty(t, d, Options{})
	require.NoError(t, f.Record(t.Context(), opened))
	d.fail(errors.New("full"), 10)
	require.ErrorIs(t, f.Record(t.Context(), opened, opened), ErrUnavailable)
	d.fail(errors.New("full"), 0)
	require.ErrorIs(t, f.Record(t.Context(), opened), ErrUnavailable)
	require.ErrorIs(t, f.Ready(t.Context()), ErrUnavailable)
	d.fail(nil, 0)
	require.NoError(t, f.Ready(t.Context()))
	require.NoError(t, f.Record(t.Context(), opened))

	lines, broken := read(t, path)
	require.Equal(t, 1, broken)
	require.Len(t, lines, 4)
	require.Equal(t, "audit.torn", lines[1].Action)
	require.EqualValues(t, 10+len(" \n"), lines[1].Torn.Bytes)
	require.Equal(t, "audit.resumed", lines[2].Action)
	require.EqualValues(t, 3, lines[2].Lost)
	require.Equal(t, Notice, lines[2].Severity)
	require.Equal(t, "key.open", lines[3].Action)
}

// A disk that hangs holds nobody longer than the time-out, and everything that waited is refused.
func TestHangingDisk(t *testing.T) {
	d := &faults{hang: make(chan struct{})}
	f, _ := startFaulty(t, d, Options{Timeout: 50 * time.Millisecond})
	var wg sync.WaitGroup
	begin := time.Now()
	for range 200 {
		wg.Go(func() {
			if err := f.Record(t.Context(), opened); !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Less(t, time.Since(begin), time.Minute)
	require.ErrorIs(t, f.Record(t.Context(), opened), ErrUnavailable)
	waiting := len(f.gathering.objects)
	for range 1000 {
		require.ErrorIs(t, f.Record(t.Context(), opened), ErrUnavailable)
	}
	require.Len(t, f.gathering.objects, waiting, "what nobody waits for any more does not grow")
	close(d.hang)
	require.Eventually(t, func() bool { return f.Record(t.Context(), opened) == nil }, time.Minute, time.Millisecond)
}

// What must be on the disk is there before Record returns; what need not be costs no sync.
func TestSync(t *testing.T) {
	for _, c := range []struct {
		policy         Sync
		ordinary, rest int
	}{{SyncNotable, 0, 1}, {SyncAll, 1, 1}, {SyncLater, 0, 0}} {
		d := &faults{}
		w, _ := newWriter(t, d, Options{Sync: c.policy})
		record := func(e Event) int {
			before := d.syncs
			w.write(t, e)
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
	d := &faults{}
	w, path := newWriter(t, d, Options{Sync: SyncAll})
	var groups []*group
	for range 11 {
		g, err := w.f.join(w.f.batch(nil, []Event{opened}))
		require.NoError(t, err)
		groups = append(groups, g)
	}
	w.group()
	for _, g := range groups {
		<-g.done
		require.NoError(t, g.err)
	}
	require.Equal(t, 1, d.syncs)
	lines, broken := read(t, path)
	require.Len(t, lines, 11)
	require.Zero(t, broken)
}

// Who is about to record when another does comes into one write with it.
func TestGathers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	d := &faults{}
	f, path := startFaulty(t, d, Options{})
	const recorders, each = 16, 20
	var wg sync.WaitGroup
	for range recorders {
		wg.Go(func() {
			for range each {
				if err := f.Record(t.Context(), opened); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lines, broken := read(t, path)
	require.Len(t, lines, recorders*each)
	require.Zero(t, broken)
	require.Less(t, d.writes, recorders*each/4)
}

// While the lock is held, what this process wrote is not read again; what somebody else left without the lock is.
func TestReadsNoMoreThanItMust(t *testing.T) {
	d := &faults{}
	w, path := newWriter(t, d, Options{Sync: SyncLater})
	record := func() { w.write(t, opened) }
	record()
	before := d.reads
	for range 5 {
		record()
	}
	require.Equal(t, before, d.reads)

	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(`{"v":1,"seq":7`)
	require.NoError(t, errors.Join(err, file.Close()))
	record()
	lines, broken := read(t, path)
	require.Equal(t, 1, broken)
	require.Len(t, lines, 8)
	require.Equal(t, "audit.torn", lines[6].Action)
	w.trail.release()
	v, err := Verify(t.Context(), path, testKey, nil, nil)
	require.NoError(t, err)
	require.Nil(t, v.Fault)
}

// While the disk takes what was written before, others record; the head then names what it took, and the lock
// is kept until it does.
func TestNobodyWaitsForTheHead(t *testing.T) {
	d := &faults{}
	w, path := newWriter(t, d, Options{Sync: SyncLater})
	record := func() { w.write(t, opened) }
	head := func() uint64 {
		h, err := ReadHead(path, testKey)
		require.NoError(t, err)
		return h.Seq
	}
	record()
	record()
	d.syncing = make(chan struct{})
	w.syncLater()
	require.False(t, w.dirty)
	for range 3 {
		record()
	}
	require.True(t, w.dirty)
	w.trail.release()
	require.NotNil(t, w.trail.unlock, "nobody else may note a later line meanwhile")
	w.syncLater() // is one too many
	require.Zero(t, head())
	close(d.syncing)
	require.NoError(t, w.trail.noted(<-w.trail.noting))
	require.EqualValues(t, 2, head())
	require.EqualValues(t, 2, w.trail.head.Seq)
	w.trail.release()
	require.Nil(t, w.trail.unlock)

	d.mu.Lock()
	d.syncing, d.err = nil, errors.New("the disk is gone")
	d.mu.Unlock()
	w.syncLater()
	require.False(t, w.dirty)
	w.sync()
	require.True(t, w.dirty, "what is not on the disk is synced again")
	require.EqualValues(t, 2, head())
	d.fail(nil, 0)
	w.syncLater()
	w.sync() // waits for it
	require.False(t, w.dirty)
	require.EqualValues(t, 5, head())
	w.trail.release()
	v, err := Verify(t.Context(), path, testKey, nil, nil)
	require.NoError(t, err)
	require.Nil(t, v.Fault)
}

// A log that is moved away before its lines were noted is missed all the same, by whoever writes next.
func TestNotedWhenMoved(t *testing.T) {
	w, path := newWriter(t, &faults{}, Options{Sync: SyncLater, Log: slog.New(slog.DiscardHandler)})
	w.write(t, opened, opened)
	w.trail.release()
	require.NoError(t, os.Rename(path, path+".moved"))
	w.syncLater()
	require.NoError(t, w.trail.settleNote())
	w.trail.release()
	told := false
	next, err := Open(path, testKey, Options{Log: slog.New(slog.DiscardHandler), OnAltered: func() { told = true }})
	require.NoError(t, err)
	require.NoError(t, next.Record(t.Context(), opened))
	require.NoError(t, next.Close())
	require.True(t, told)
	lines, _ := read(t, path)
	require.Equal(t, "audit.altered", lines[0].Action)
}

// Who writes alone keeps the lock for longer than who does not.
func TestLease(t *testing.T) {
	w, path := newWriter(t, &faults{}, Options{Sync: SyncLater})
	due := func() bool {
		w.write(t, opened)
		w.trail.locked = time.Now().Add(-2 * lease)
		return w.trail.due()
	}
	require.False(t, due())
	w.trail.locked = time.Now().Add(-alone)
	require.True(t, w.trail.due())
	w.trail.release()
	require.False(t, w.trail.due(), "what is not held")

	other, err := Open(path, testKey, Options{Sync: SyncLater})
	require.NoError(t, err)
	require.NoError(t, other.Record(t.Context(), opened))
	require.NoError(t, other.Close())
	require.True(t, due())
	w.trail.met = time.Now().Add(-company)
	require.False(t, due())
}

func TestEveryActionHasAName(t *testing.T) {
	seen := map[string]bool{}
	for a := Action(1); int(a) < numberOfActions; a++ {
		require.Regexp(t, `^[a-z]+\.[a-z]+$`, a.String())
		require.False(t, seen[a.String()])
		seen[a.String()] = true
		require.True(t, IsAction(a.String()))
	}
	for _, name := range []string{"", ".", "key", "none."} {
		require.False(t, IsAction(name), name)
	}
	require.True(t, IsAction("key."))
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
