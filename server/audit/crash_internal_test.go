package audit

import (
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The head is written after the lines and names only lines that are on the disk. If the disk fails, it stays behind.
func TestHeadNamesOnlySyncedLines(t *testing.T) {
	w, path := newWriter(t, &diskFaults{}, Options{Sync: SyncLater})
	head := func() uint64 {
		h, err := readHead(path, 1, nil, "")
		require.NoError(t, err)
		return h.Ends[0].Last.Seq
	}
	w.record(t, openEvent)
	w.record(t, openEvent)
	require.Zero(t, head())
	require.NoError(t, w.keeper.updateHead())
	require.EqualValues(t, 2, head())
	w.record(t, openEvent)
	file := w.chains[0].current.path
	require.NoError(t, os.Rename(file, file+".kept"))
	require.NoError(t, os.Symlink("/dev/full", file)) // which cannot be synced
	require.Error(t, w.keeper.updateHead())
	require.EqualValues(t, 2, head())
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Rename(file+".kept", file))
	require.NoError(t, w.keeper.updateHead())
	require.EqualValues(t, 3, head())
}

// Lines are also missed if their file is moved away before the head names them.
func TestMovedFileIsReportedAtNextStart(t *testing.T) {
	w, path := newWriter(t, &diskFaults{}, Options{Sync: SyncLater})
	w.record(t, openEvent, openEvent)
	require.NoError(t, os.Rename(w.chains[0].current.path, path+".moved"))
	require.NoError(t, w.keeper.updateHead())
	w.release()
	reported := false
	next, err := Open(path, testKey, Options{Log: slog.New(slog.DiscardHandler), OnAltered: func() { reported = true }})
	require.NoError(t, err)
	require.NoError(t, next.Record(t.Context(), openEvent))
	require.NoError(t, next.Close())
	require.True(t, reported)
	recorded, err := os.ReadFile(newLogFile(path, 2, 1).path)
	require.NoError(t, err)
	require.Contains(t, string(recorded), `"action":"audit.altered"`)
}

// A process that is killed between any two steps leaves a log that verifies and that the next process continues.
func TestKillBetweenAnyTwoSteps(t *testing.T) {
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
		require.NoError(t, f.Record(t.Context(), openEvent, Event{Action: KeyDestroy, Tenant: "t"}))
		require.NoError(t, f.Close())
		v, err = Verify(t.Context(), path, key, nil, nil)
		require.NoError(t, err)
		require.Nil(t, v.Fault, step)
	}
	require.NoError(t, os.MkdirAll(path, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(path, ".writing-1"), nil, 0o600))
	f, err := Open(path, key, options)
	require.NoError(t, err, "killed before the list was renamed")
	require.NoError(t, f.Close())
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.MkdirAll(path, 0o700))
	list := chainList{Log: "log", Key: hex.EncodeToString(key.id[:])}
	require.NoError(t, writeAuthenticated(chainListPath(path), key, &list))
	check("killed after the list was written")
	list, err = readChainList(path, key)
	require.NoError(t, err)
	for _, step := range []string{"directory", "directories", "head"} {
		require.NoError(t, os.MkdirAll(chainDir(path, 3), 0o700))
		if step != "directory" {
			require.NoError(t, os.MkdirAll(chainDir(path, 4), 0o700))
		}
		if first, second := key.origin(list.Log, 3), key.origin(list.Log, 4); step == "head" {
			h := head{Log: list.Log, Ends: [2]chainEnd{{Last: first, File: 1}, {Last: second, File: 1}}, Start: first}
			require.NoError(t, writeAuthenticated(headPath(path, 3), key, &h))
		}
		check("killed after the new chain's " + step)
	}
	start := func() *writer {
		f, err := open(path, key, options, openDisk)
		require.NoError(t, err)
		return &writer{File: f}
	}
	other := start() // it adds the chains 3 and 4
	w := start()
	w.release()
	other.release()
	check("killed after chains were added")
	w = start()
	require.NoError(t, w.chains[0].file.Sync())
	require.NoError(t, os.WriteFile(newLogFile(path, 1, w.chains[0].current.number+1).path, nil, 0o600))
	w.release()
	check("killed after another file was created")
	w = start()
	for range 20 {
		w.record(t, openEvent, Event{Action: KeyDestroy, Tenant: "t"})
	}
	w.release()
	check("killed before the head named lines in several files")

	// The steps of pruneFile with the oldest file.
	w = start()
	h := w.keeper.head
	var files []logFile
	for len(files) < 3 {
		w.record(t, openEvent, openEvent, openEvent)
		files, err = listFiles(path, 1, h.LastPruned+1)
		require.NoError(t, err)
	}
	require.NoError(t, w.keeper.updateHead())
	h = w.keeper.head
	oldest := chainReader{key.newLineMAC(), h.Start}
	_, err = oldest.readFile(t.Context(), files[0], 0, func([]byte) {})
	require.NoError(t, err)
	h.Start, h.LastPruned = oldest.last, files[0].number
	require.NoError(t, w.keeper.writeHead(h))
	w.release()
	check("killed between the head and the deletion of the file")
}

// A power cut that takes any part of the lines that were not synced, or leaves zeros in their place, leaves a log that
// verifies and that the next process continues.
func TestPowerCutOfUnsyncedLines(t *testing.T) {
	options := Options{Log: slog.New(slog.DiscardHandler), Sync: SyncLater}
	w, path := newWriter(t, &diskFaults{}, options)
	w.record(t, openEvent)
	require.NoError(t, w.keeper.updateHead())
	synced := w.chains[0].end
	w.record(t, openEvent, openEvent)
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
			require.NoError(t, f.Record(t.Context(), openEvent))
			require.NoError(t, f.Close())
			v, err := Verify(t.Context(), path, testKey, nil, nil)
			require.NoError(t, err)
			require.Nil(t, v.Fault, "%d bytes, %d zeros", size, zeros)
		}
	}
}
