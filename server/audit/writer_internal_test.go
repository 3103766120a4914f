package audit

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	mu     sync.Mutex
	err    error
	take   int // bytes that a failing write still writes
	hang   chan struct{}
	syncs  int
	writes int
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

func (d faulty) Sync() error {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.syncs++
	return d.faults.err
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

func read(t *testing.T, dir string) (lines []record, broken int) {
	files, err := listFiles(dir, 1, 0)
	require.NoError(t, err)
	for _, f := range files {
		content, err := os.ReadFile(f.path)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			var r record
			if json.Unmarshal([]byte(line), &r) != nil {
				broken++
				continue
			}
			lines = append(lines, r)
		}
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
	f, path := newFaulty(t, d, options)
	go f.write()
	go f.keeper.run()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f, path
}

func newFaulty(t *testing.T, d *faults, options Options) (*File, string) {
	t.Helper()
	options.Log = slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "audit")
	f, err := open(path, testKey, options, d.open)
	require.NoError(t, err)
	return f, path
}

// newWriter is one whose groups the test makes itself.
func newWriter(t *testing.T, d *faults, options Options) (*writer, string) {
	t.Helper()
	options.Timeout = time.Minute
	f, path := newFaulty(t, d, options)
	t.Cleanup(f.release)
	return &writer{File: f}, path
}

// record records events by a group of their own.
func (w *writer) record(t *testing.T, events ...Event) {
	t.Helper()
	g, err := w.join(w.batch(nil, events))
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

// A disk that hangs delays callers up to the time-out, and all that waited are refused.
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

// Events that must be on the disk are there before Record returns; others cost no sync.
func TestSync(t *testing.T) {
	for _, c := range []struct {
		policy         Sync
		ordinary, rest int
	}{{SyncNotable, 0, 1}, {SyncAll, 1, 1}, {SyncLater, 0, 0}} {
		d := &faults{}
		w, _ := newWriter(t, d, Options{Sync: c.policy})
		record := func(e Event) int {
			before := d.syncs
			w.record(t, e)
			return d.syncs - before
		}
		require.Equal(t, c.ordinary, record(opened))
		require.Equal(t, c.rest, record(Event{Action: TokenCreate}))
		require.Equal(t, c.rest, record(Event{Action: KeyOpen, Code: "authentication_failed"}))
		record(opened)
		require.NoError(t, w.keeper.note())
		require.EqualValues(t, 4, w.keeper.head.Head.Seq, "the rest follows")
	}
}

// Callers that wait together share a write.
func TestGroups(t *testing.T) {
	d := &faults{}
	w, path := newWriter(t, d, Options{Sync: SyncAll})
	var groups []*group
	for range 11 {
		g, err := w.join(w.batch(nil, []Event{opened}))
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

// Goroutines that record at the same time share a write.
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

// TestNobodyWaitsForTheHead: the head is written beside the writer, names what was on the disk then, and is behind
// again if the disk fails.
func TestNobodyWaitsForTheHead(t *testing.T) {
	w, path := newWriter(t, &faults{}, Options{Sync: SyncLater})
	head := func() uint64 {
		h, err := readHead(path, 1, testKey)
		require.NoError(t, err)
		return h.Head.Seq
	}
	w.record(t, opened)
	w.record(t, opened)
	require.Zero(t, head())
	require.NoError(t, w.keeper.note())
	require.EqualValues(t, 2, head())
	w.record(t, opened)
	file := w.chain.current.path
	require.NoError(t, os.Rename(file, file+".kept"))
	require.NoError(t, os.Symlink("/dev/full", file)) // which cannot be synced
	require.Error(t, w.keeper.note())
	require.EqualValues(t, 2, head())
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Rename(file+".kept", file))
	require.NoError(t, w.keeper.note())
	require.EqualValues(t, 3, head())
}

// TestNotedWhenMoved: a file that is moved away before its lines were noted is missed all the same.
func TestNotedWhenMoved(t *testing.T) {
	w, path := newWriter(t, &faults{}, Options{Sync: SyncLater})
	w.record(t, opened, opened)
	require.NoError(t, os.Rename(w.chain.current.path, path+".moved"))
	require.NoError(t, w.keeper.note())
	w.release()
	told := false
	next, err := Open(path, testKey, Options{Log: slog.New(slog.DiscardHandler), OnAltered: func() { told = true }})
	require.NoError(t, err)
	require.NoError(t, next.Record(t.Context(), opened))
	require.NoError(t, next.Close())
	require.True(t, told)
	lines, _ := read(t, path)
	require.Equal(t, "audit.altered", lines[0].Action)
}

// TestEveryStep: a process that is killed between any two steps leaves a log that verifies, and that the next process
// continues.
func TestEveryStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	key := testKey
	options := Options{Log: slog.New(slog.DiscardHandler), Keep: 1, MaxSize: 1500}
	check := func(step string) {
		t.Helper()
		v, err := Verify(t.Context(), path, key, nil, nil)
		require.NoError(t, err)
		require.Nil(t, v.Fault, step)
		f, err := Open(path, key, options)
		require.NoError(t, err, step)
		require.NoError(t, f.Record(t.Context(), opened, Event{Action: KeyDestroy, Tenant: "t"}))
		require.NoError(t, f.Close())
		v, err = Verify(t.Context(), path, key, nil, nil)
		require.NoError(t, err)
		require.Nil(t, v.Fault, step)
	}
	require.NoError(t, os.MkdirAll(path, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(path, ".writing-1"), nil, 0o600))
	f, err := Open(path, key, options)
	require.NoError(t, err, "the list was not renamed")
	require.NoError(t, f.Close())
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.MkdirAll(path, 0o700))
	require.NoError(t, writeSealed(listPath(path), key, &chainList{}))
	check("the list was made")
	for _, step := range []string{"directory", "head"} {
		require.NoError(t, os.MkdirAll(chainDir(path, 2), 0o700))
		if step == "head" {
			require.NoError(t, writeSealed(headPath(path, 2), key, &head{Head: Anchor{Chain: 2}, File: 1}))
		}
		check("a chain's " + step)
	}
	start := func() *writer {
		f, err := open(path, key, options, openDisk)
		require.NoError(t, err)
		return &writer{File: f}
	}
	w := start()
	require.NoError(t, w.chain.file.Sync())
	require.NoError(t, os.WriteFile(newLogFile(path, 1, w.chain.at.Seq+1).path, nil, 0o600))
	w.release()
	check("another file was begun")
	w = start()
	for range 20 {
		w.record(t, opened, Event{Action: KeyDestroy, Tenant: "t"})
	}
	w.release()
	check("lines in several files were not noted")

	// What pruneFile does with the oldest file, step by step.
	prune := func() (w *writer, at Anchor, file logFile, ends []byte) {
		w = start()
		var files []logFile
		for len(files) < 3 {
			w.record(t, opened, Event{Action: KeyDestroy, Tenant: "t"})
			var err error
			files, err = listFiles(path, 1, w.keeper.head.From.Seq)
			require.NoError(t, err)
		}
		require.NoError(t, w.keeper.note())
		walked := walk{linker: key.newLinker(), at: w.keeper.head.from()}
		ends, err := readEnds(&walked, files[0])
		require.NoError(t, err)
		require.NotEmpty(t, ends)
		return w, walked.at, files[0], ends
	}
	w, _, _, _ = prune()
	release, err := lockKept(path, key)
	require.NoError(t, err)
	release()
	w.release()
	check("the chain of what is kept was begun")
	w, _, _, ends := prune()
	require.NoError(t, w.keeper.keep(ends))
	w.release()
	check("the ends were kept")
	w, at, file, _ := prune()
	w.keeper.head.From, w.keeper.head.Pruned = at, file.first
	require.NoError(t, w.keeper.writeHead())
	w.release()
	check("the head says that the file is deleted")
}

// TestLostSyncs: a power cut that takes any part of the lines that were not synced, or leaves zeros in their place,
// leaves a log that verifies, and that the next process continues.
func TestLostSyncs(t *testing.T) {
	options := Options{Log: slog.New(slog.DiscardHandler), Sync: SyncLater}
	w, path := newWriter(t, &faults{}, options)
	w.record(t, opened)
	require.NoError(t, w.keeper.note())
	synced := w.chain.current.size
	w.record(t, opened, opened)
	w.release()
	file := w.chain.current.path
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	head, err := os.ReadFile(headPath(path, 1))
	require.NoError(t, err)
	for size := synced; size <= int64(len(whole)); size += 61 {
		for _, zeros := range []int{0, 100} {
			require.NoError(t, os.WriteFile(file, append(slices.Clone(whole[:size]), make([]byte, zeros)...), 0o600))
			require.NoError(t, os.WriteFile(headPath(path, 1), head, 0o600))
			f, err := Open(path, testKey, options)
			require.NoError(t, err)
			require.NoError(t, f.Record(t.Context(), opened))
			require.NoError(t, f.Close())
			v, err := Verify(t.Context(), path, testKey, nil, nil)
			require.NoError(t, err)
			require.Nil(t, v.Fault, "%d bytes, %d zeros", size, zeros)
		}
	}
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
