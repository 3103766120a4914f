package audit

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
)

// faultyDisk is a file that fails, writes a part, or hangs, as its faults require.
type faultyDisk struct {
	disk
	faults *diskFaults
}

type diskFaults struct {
	mu      sync.Mutex
	err     error
	written int // bytes that a failing write still writes
	hang    chan struct{}
	syncs   int
	writes  int
}

func (d faultyDisk) Write(p []byte) (int, error) {
	if d.faults.hang != nil {
		<-d.faults.hang
	}
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.writes++
	if d.faults.err != nil {
		n, _ := d.disk.Write(p[:min(d.faults.written, len(p))])
		return n, d.faults.err
	}
	return d.disk.Write(p)
}

func (d faultyDisk) Sync() error {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.syncs++
	return d.faults.err
}

func (f *diskFaults) open(path string) (disk, error) {
	file, err := openDisk(path)
	return faultyDisk{file, f}, err
}

func (f *diskFaults) fail(err error, take int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.written = err, take
}

func readFirstChain(t *testing.T, dir string) (lines []Fields, broken int) {
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

func startFaultyLog(t *testing.T, d *diskFaults, options Options) (*File, string) {
	t.Helper()
	f, path := newFaultyLog(t, d, options)
	go f.runWriter()
	go f.keeper.run()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f, path
}

func newFaultyLog(t *testing.T, d *diskFaults, options Options) (*File, string) {
	t.Helper()
	options.Log = slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "audit")
	f, err := open(path, testKey, options, d.open)
	require.NoError(t, err)
	return f, path
}

// newWriter returns a writer without its goroutine. The test calls its methods.
func newWriter(t *testing.T, d *diskFaults, options Options) (*writer, string) {
	t.Helper()
	options.Timeout = time.Minute
	f, path := newFaultyLog(t, d, options)
	t.Cleanup(f.release)
	return &writer{File: f}, path
}

// record writes events as a group of their own.
func (w *writer) record(t *testing.T, events ...Event) {
	t.Helper()
	r := w.newRequest(events)
	w.writeGroup(r)
	require.NoError(t, <-r.done)
}

var openEvent = Event{Action: KeyOpen, Class: classify.PHI, RequestID: "one"}
