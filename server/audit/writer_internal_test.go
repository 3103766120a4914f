package audit

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// After a disk was full for a while, the cut line ends its file, a line reports the gap, and the next file continues
// the chain.
func TestWriterResumesAfterFailedWrites(t *testing.T) {
	d := &diskFaults{}
	f, path := startFaultyLog(t, d, Options{})
	require.NoError(t, f.Record(t.Context(), openEvent))
	d.fail(errors.New("full"), 10)
	require.ErrorIs(t, f.Record(t.Context(), openEvent, openEvent), ErrUnavailable)
	d.fail(errors.New("full"), 0)
	require.ErrorIs(t, f.Record(t.Context(), openEvent), ErrUnavailable)
	require.ErrorIs(t, f.Ready(t.Context()), ErrUnavailable)
	d.fail(nil, 0)
	require.NoError(t, f.Ready(t.Context()))
	require.NoError(t, f.Record(t.Context(), openEvent))

	lines, broken := readFirstChain(t, path)
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

// If the disk hangs, callers wait for at most the time-out, and all of them are refused.
func TestHangingDiskRefusesWithinTimeout(t *testing.T) {
	d := &diskFaults{hang: make(chan struct{})}
	f, _ := startFaultyLog(t, d, Options{Timeout: 50 * time.Millisecond})
	var wg sync.WaitGroup
	begin := time.Now()
	for range 200 {
		wg.Go(func() {
			if err := f.Record(t.Context(), openEvent); !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Less(t, time.Since(begin), time.Minute)
	require.ErrorIs(t, f.Record(t.Context(), openEvent), ErrUnavailable)
	waiting := len(f.queue)
	begin = time.Now()
	for range 1000 {
		require.ErrorIs(t, f.Record(t.Context(), openEvent), ErrUnavailable)
	}
	require.Less(t, time.Since(begin), 30*time.Second, "callers must not wait for a disk that is known to hang")
	require.Len(t, f.queue, waiting, "refused requests must not be queued")
	close(d.hang)
	require.Eventually(t, func() bool { return f.Record(t.Context(), openEvent) == nil }, time.Minute, time.Millisecond)
}

// Events that the policy requires to be on the disk are synced before Record returns. Other events cause no sync.
func TestSyncPolicyDecidesWhatIsSynced(t *testing.T) {
	for _, c := range []struct {
		policy              SyncPolicy
		ordinary, important int
	}{{SyncNotable, 0, 1}, {SyncAll, 1, 1}, {SyncLater, 0, 0}} {
		d := &diskFaults{}
		w, _ := newWriter(t, d, Options{Sync: c.policy})
		record := func(e Event) int {
			before := d.syncs
			w.record(t, e)
			return d.syncs - before
		}
		require.Equal(t, c.ordinary, record(openEvent))
		require.Equal(t, c.important, record(Event{Action: TokenCreate}))
		require.Equal(t, c.important, record(Event{Action: KeyOpen, Code: "authentication_failed"}))
		record(openEvent)
		require.NoError(t, w.keeper.updateHead())
		require.EqualValues(t, 4, w.keeper.head.Ends[0].Last.Seq, "the head keeper syncs the other lines")
	}
}

func TestWaitingRequestsShareOneWrite(t *testing.T) {
	d := &diskFaults{}
	w, path := newWriter(t, d, Options{Sync: SyncAll})
	var all []*request
	for range 10 {
		r := w.newRequest([]Event{openEvent})
		w.queue <- r
		all = append(all, r)
	}
	all = append(all, w.newRequest([]Event{openEvent}))
	w.writeGroup(all[10])
	for _, r := range all {
		require.NoError(t, <-r.done)
	}
	require.Equal(t, 1, d.syncs)
	lines, broken := readFirstChain(t, path)
	require.Len(t, lines, 11)
	require.Zero(t, broken)
}

func TestConcurrentRecordsShareWrites(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	d := &diskFaults{}
	f, path := startFaultyLog(t, d, Options{})
	const recorders, each = 16, 20
	var wg sync.WaitGroup
	for range recorders {
		wg.Go(func() {
			for range each {
				if err := f.Record(t.Context(), openEvent); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lines, broken := readFirstChain(t, path)
	require.Len(t, lines, recorders*each)
	require.Zero(t, broken)
	require.Less(t, d.writes, recorders*each/4)
}

// Even within checkInterval, the writer checks its file before lines that must be synced, after a failed write, and
// before a line that records an alteration.
func TestFileIsCheckedBeforeImportantLines(t *testing.T) {
	now := time.Hour
	commit := func(w *writer, events ...Event) error {
		w.group = []*request{w.newRequest(events)}
		err := w.commit(now)
		w.logTransition(err)
		return err
	}
	t.Run("sync", func(t *testing.T) {
		w, path := newWriter(t, &diskFaults{}, Options{})
		require.NoError(t, commit(w, openEvent))
		require.NoError(t, os.Remove(w.chains[0].current.path))
		require.NoError(t, commit(w, Event{Action: TokenCreate}))
		lines, _ := readFirstChain(t, path)
		require.Len(t, lines, 1)
		require.Equal(t, "token.create", lines[0].Action)
	})
	t.Run("failed", func(t *testing.T) {
		d := &diskFaults{}
		w, path := newWriter(t, d, Options{Sync: SyncLater})
		require.NoError(t, commit(w, openEvent))
		d.fail(errors.New("full"), 10)
		require.Error(t, commit(w, openEvent))
		d.fail(nil, 0)
		require.NoError(t, commit(w, openEvent))
		lines, broken := readFirstChain(t, path)
		require.Equal(t, 1, broken)
		require.Len(t, lines, 3, "the second line reports that the log works again")
	})
	t.Run("altered", func(t *testing.T) {
		w, path := newWriter(t, &diskFaults{}, Options{})
		require.NoError(t, commit(w, openEvent, Event{Action: KeyDestroy}))
		for _, c := range w.chains {
			require.NoError(t, os.Remove(c.current.path))
		}
		w.chains[0].lastChecked = 0
		require.NoError(t, commit(w, openEvent))
		found := 0
		for _, file := range []string{w.chains[0].current.path, w.chains[1].current.path} {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			found += strings.Count(string(content), `"action":"audit.altered"`)
		}
		require.Positive(t, found, path)
	})
}
