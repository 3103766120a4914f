package audit

import (
	"encoding/hex"
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

	"github.com/coffer-storage/coffer/internal/secret"
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

func read(t *testing.T, dir string) (lines []Fields, broken int) {
	files, err := listFiles(dir, 1, 0)
	require.NoError(t, err)
	for _, f := range files {
		content, err := os.ReadFile(f.path)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			var r Fields
			if json.Unmarshal([]byte(line), &r) != nil {
				broken++
				continue
			}
			lines = append(lines, r)
		}
	}
	return lines, broken
}

var testKey = NewKey(new(secret.Key))

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

// newWriter is one that the test runs itself.
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
	r := w.newRequest(events)
	w.serve(r)
	require.NoError(t, <-r.done)
}

var opened = Event{Action: KeyOpen, Class: classify.PHI, RequestID: "one"}

// A disk that was full and has room again: the line that it cut short ends its file, the gap is told, and the next file
// goes on.
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
	require.Len(t, lines, 3)
	require.Equal(t, "audit.resumed", lines[1].Action)
	require.EqualValues(t, 3, lines[1].Lost)
	require.Equal(t, Notice, lines[1].Severity)
	require.Equal(t, "key.open", lines[2].Action)
	v, err := Verify(t.Context(), path, testKey, nil, nil)
	require.NoError(t, err)
	require.Nil(t, v.Fault)
	require.Equal(t, []string{"1/00000000000000000001.log:2"}, v.Chains[0].Torn)
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
	waiting := len(f.queue)
	begin = time.Now()
	for range 1000 {
		require.ErrorIs(t, f.Record(t.Context(), opened), ErrUnavailable)
	}
	require.Less(t, time.Since(begin), 30*time.Second, "no caller waits for a disk that hangs already")
	require.Len(t, f.queue, waiting, "what nobody waits for any more does not grow")
	close(d.hang)
	require.Eventually(t, func() bool { return f.Record(t.Context(), opened) == nil }, time.Minute, time.Millisecond)
}

// Events that must be on the disk are there before Record returns; others cost no sync.
func TestSync(t *testing.T) {
	for _, c := range []struct {
		policy         SyncPolicy
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
		require.EqualValues(t, 4, w.keeper.head.Ends[0].Last.Seq, "the rest follows")
	}
}

// Callers that wait together share a write.
func TestGroups(t *testing.T) {
	d := &faults{}
	w, path := newWriter(t, d, Options{Sync: SyncAll})
	var all []*request
	for range 10 {
		r := w.newRequest([]Event{opened})
		w.queue <- r
		all = append(all, r)
	}
	all = append(all, w.newRequest([]Event{opened}))
	w.serve(all[10])
	for _, r := range all {
		require.NoError(t, <-r.done)
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
		h, err := readHead(path, 1, nil, "")
		require.NoError(t, err)
		return h.Ends[0].Last.Seq
	}
	w.record(t, opened)
	w.record(t, opened)
	require.Zero(t, head())
	require.NoError(t, w.keeper.note())
	require.EqualValues(t, 2, head())
	w.record(t, opened)
	file := w.chains[0].current.path
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
	require.NoError(t, os.Rename(w.chains[0].current.path, path+".moved"))
	require.NoError(t, w.keeper.note())
	w.release()
	told := false
	next, err := Open(path, testKey, Options{Log: slog.New(slog.DiscardHandler), OnAltered: func() { told = true }})
	require.NoError(t, err)
	require.NoError(t, next.Record(t.Context(), opened))
	require.NoError(t, next.Close())
	require.True(t, told)
	recorded, err := os.ReadFile(newLogFile(path, 2, 1).path)
	require.NoError(t, err)
	require.Contains(t, string(recorded), `"action":"audit.altered"`)
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
	list := logList{Log: "log", Key: hex.EncodeToString(key.id[:])}
	require.NoError(t, writeSealed(listPath(path), key, &list))
	check("the list was made")
	list, err = readList(path, key)
	require.NoError(t, err)
	for _, step := range []string{"directory", "directories", "head"} {
		require.NoError(t, os.MkdirAll(chainDir(path, 3), 0o700))
		if step != "directory" {
			require.NoError(t, os.MkdirAll(chainDir(path, 4), 0o700))
		}
		if first, second := key.origin(list.Log, 3), key.origin(list.Log, 4); step == "head" {
			h := head{Log: list.Log, Ends: [2]place{{Last: first, File: 1}, {Last: second, File: 1}}, From: first}
			require.NoError(t, writeSealed(headPath(path, 3), key, &h))
		}
		check("a chain's " + step)
	}
	start := func() *writer {
		f, err := open(path, key, options, openDisk)
		require.NoError(t, err)
		return &writer{File: f}
	}
	other := start() // which begins the chains 3 and 4
	w := start()
	w.release()
	other.release()
	check("the chains were begun")
	w = start()
	require.NoError(t, w.chains[0].file.Sync())
	require.NoError(t, os.WriteFile(newLogFile(path, 1, w.chains[0].current.number+1).path, nil, 0o600))
	w.release()
	check("another file was begun")
	w = start()
	for range 20 {
		w.record(t, opened, Event{Action: KeyDestroy, Tenant: "t"})
	}
	w.release()
	check("lines in several files were not noted")

	// What pruneFile does with the oldest file, step by step.
	w = start()
	h := w.keeper.head
	var files []logFile
	for len(files) < 3 {
		w.record(t, opened, opened, opened)
		files, err = listFiles(path, 1, h.Pruned+1)
		require.NoError(t, err)
	}
	require.NoError(t, w.keeper.note())
	h = w.keeper.head
	check2 := reader{key.newLinker(), h.From}
	_, err = check2.read(t.Context(), files[0], 0, func([]byte) {})
	require.NoError(t, err)
	h.From, h.Pruned = check2.at, files[0].number
	require.NoError(t, w.keeper.writeHead(h))
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
	synced := w.chains[0].end
	w.record(t, opened, opened)
	w.release()
	file := w.chains[0].current.path
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	head, err := os.ReadFile(headPath(path, 1))
	require.NoError(t, err)
	for size := synced; size <= int64(len(whole)); size += 61 {
		for _, zeros := range []int{0, 100} {
			require.NoError(t, os.WriteFile(file, append(slices.Clone(whole[:size]), make([]byte, zeros)...), 0o600))
			require.NoError(t, os.WriteFile(headPath(path, 1), head, 0o600))
			require.NoError(t, os.RemoveAll(newLogFile(path, 1, 2).path))
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
	for _, name := range actions {
		require.Regexp(t, `^[a-z]+\.[a-z]+$`, name)
		require.False(t, seen[name])
		seen[name] = true
		require.True(t, MatchesAction(name))
	}
	for _, name := range []string{"", ".", "key", "none."} {
		require.False(t, MatchesAction(name), name)
	}
	require.True(t, MatchesAction("key."))
}

func TestBoundedCutsBetweenCharacters(t *testing.T) {
	require.Equal(t, strings.Repeat("a", 254), bounded(255, strings.Repeat("a", 254)+"é"))
	require.Equal(t, "é", bounded(255, "é"))
}

// Within checkInterval, the writer looks at its file all the same before lines that must be on the disk, after a failed write, and before
// the line that records an alteration.
func TestLooksWithinTheInterval(t *testing.T) {
	now := time.Hour
	commit := func(w *writer, events ...Event) error {
		w.group = []*request{w.newRequest(events)}
		err := w.commit(now)
		w.remember(err)
		return err
	}
	t.Run("sync", func(t *testing.T) {
		w, path := newWriter(t, &faults{}, Options{})
		require.NoError(t, commit(w, opened))
		require.NoError(t, os.Remove(w.chains[0].current.path))
		require.NoError(t, commit(w, Event{Action: TokenCreate}))
		lines, _ := read(t, path)
		require.Len(t, lines, 1)
		require.Equal(t, "token.create", lines[0].Action)
	})
	t.Run("failed", func(t *testing.T) {
		d := &faults{}
		w, path := newWriter(t, d, Options{Sync: SyncLater})
		require.NoError(t, commit(w, opened))
		d.fail(errors.New("full"), 10)
		require.Error(t, commit(w, opened))
		d.fail(nil, 0)
		require.NoError(t, commit(w, opened))
		lines, broken := read(t, path)
		require.Equal(t, 1, broken)
		require.Len(t, lines, 3, "the second one says that the log goes on")
	})
	t.Run("altered", func(t *testing.T) {
		w, path := newWriter(t, &faults{}, Options{})
		require.NoError(t, commit(w, opened, Event{Action: KeyDestroy}))
		for _, c := range w.chains {
			require.NoError(t, os.Remove(c.current.path))
		}
		w.chains[0].looked = 0
		require.NoError(t, commit(w, opened))
		found := 0
		for _, file := range []string{w.chains[0].current.path, w.chains[1].current.path} {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			found += strings.Count(string(content), `"action":"audit.altered"`)
		}
		require.Positive(t, found, path)
	})
}
