package audit_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// A running process notices missing lines, records that, and the gap stays a fault when other processes continue the
// log.
func TestWriterRecordsAlteredFile(t *testing.T) {
	for name, alter := range map[string]func(logContent) logContent{
		"truncated": func(c logContent) logContent { c.lines[0] = c.lines[0][:2]; return c },
		"within":    func(c logContent) logContent { c.lines[0] = append(c.lines[0][:2], c.lines[0][2][:30]); return c },
		"emptied":   func(c logContent) logContent { c.lines[0] = nil; return c },
		"rewritten": func(c logContent) logContent { c.lines[0] = linesOfOtherLog(t, 6); return c },
	} {
		for _, running := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), "audit")
			reports := 0
			options := audit.Options{Log: discardLog, OnAltered: func() { reports++ }}
			f, err := audit.Open(path, keyOf(t, path), options)
			require.NoError(t, err)
			for i := range 5 {
				require.NoError(t, f.Record(t.Context(), useEvent(i)))
			}
			if !running {
				require.NoError(t, f.Close())
			}
			audit.WaitForNextCheck()
			alter(readContent(t, path)).write(t)
			if !running {
				f, err = audit.Open(path, keyOf(t, path), options)
				require.NoError(t, err)
			}
			for range 3 {
				require.NoError(t, f.Record(t.Context(), useEvent(9)))
			}
			require.NoError(t, f.Close())
			require.NoError(t, open(t, path, options).Record(t.Context(), useEvent(10)))
			require.Equal(t, 1, reports, "%s: reported once", name)
			all := logLines(t, path)
			require.Equal(t, 9.0, all[len(all)-2]["seq"], name)
			last := all[len(all)-1]
			require.Equal(t, []any{2.0, "audit.altered", "critical", map[string]any{"from": "1:5"}}, []any{last["chain"], last["action"], last["severity"], last["facts"]})
			require.NotNil(t, verify(t, path).Fault, name)
		}
	}
}

// If the directory of a chain is removed, a running process continues and records that.
func TestWriterRecordsRemovedChain(t *testing.T) {
	for _, running := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "audit")
		reports := 0
		options := audit.Options{Log: discardLog, OnAltered: func() { reports++ }}
		f := open(t, path, options)
		require.NoError(t, f.Record(t.Context(), useEvent(1), audit.Event{Action: audit.KeyDestroy}))
		if !running {
			require.NoError(t, f.Close())
		}
		require.NoError(t, os.RemoveAll(filepath.Join(path, "2")))
		if !running {
			f = open(t, path, options)
		}
		require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.KeyDestroy}))
		require.NoError(t, f.Close())
		require.Equal(t, 1, reports)
		require.Contains(t, logText(t, path), `"action":"audit.altered"`)
		require.Equal(t, audit.FaultRemoved, verify(t, path).Fault.Kind)
	}
}

// Ready fails while the log's directory or list of chains is missing or replaced, the failure is logged once, and Ready
// succeeds when they are back. A removed file is replaced by the next one, and that is recorded even without an event.
func TestReadyReportsMissingLog(t *testing.T) {
	for name, c := range map[string]struct {
		take, putBack func(path string) error
	}{
		"directory removed": {take: func(path string) error { // in one step, because the head keeper writes to the directory at any time
			return errors.Join(os.Rename(path, path+".removed"), os.RemoveAll(path+".removed"))
		}},
		"directory renamed": {
			take: func(path string) error { return os.Rename(path, path+".away") },
			putBack: func(path string) error {
				_ = os.Rename(path, path+".begun")
				return os.Rename(path+".away", path)
			},
		},
		"list removed": {
			take:    func(path string) error { return os.Rename(filepath.Join(path, "chains"), path+".chains") },
			putBack: func(path string) error { return os.Rename(path+".chains", filepath.Join(path, "chains")) },
		},
		"list of another log": {take: func(path string) error {
			other := filepath.Join(t.TempDir(), "audit")
			return errors.Join(open(t, other, audit.Options{Log: discardLog}).Close(), os.Rename(filepath.Join(other, "chains"), filepath.Join(path, "chains")))
		}},
		"file removed": {
			take:    func(path string) error { return os.Remove(firstFile(path)) },
			putBack: func(string) error { return nil },
		},
		"file replaced": {
			take: func(path string) error {
				return errors.Join(os.Remove(firstFile(path)), os.WriteFile(firstFile(path), nil, 0o600))
			},
			putBack: func(string) error { return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "audit")
			var log syncBuffer
			f := open(t, path, audit.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
			require.NoError(t, f.Record(t.Context(), useEvent(1)))
			require.NoError(t, f.Ready(t.Context()))
			waitForHead(t, f, path)
			errorsSaid := func() int { return strings.Count(log.String(), "level=ERROR") }
			require.Zero(t, errorsSaid())

			require.NoError(t, c.take(path))
			missing := strings.HasPrefix(name, "file")
			if !missing {
				require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
			}
			if !strings.HasPrefix(name, "list") {
				require.Eventually(t, func() bool { _ = f.Ready(t.Context()); return errorsSaid() > 0 }, time.Minute, time.Millisecond)
			}
			_ = f.Record(t.Context(), useEvent(2))
			if !missing {
				require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
			}
			require.LessOrEqual(t, errorsSaid(), 1, log.String())
			if c.putBack != nil {
				require.Eventually(t, func() bool { return c.putBack(path) == nil }, time.Minute, time.Millisecond) // the head keeper may create the directory again in between
				require.Eventually(t, func() bool { return f.Ready(t.Context()) == nil }, time.Minute, time.Millisecond)
				require.NoError(t, f.Record(t.Context(), useEvent(3)))
			}
			if missing {
				require.Contains(t, logText(t, path), `"action":"audit.altered"`)
			}
		})
	}
}

// Missing lines that Ready has reported are not reported again with the next line. Lines that go missing later are.
func TestMissingLinesAreReportedOnce(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, path string) error{
		"removed": func(_ *testing.T, path string) error { return os.Remove(path) },
		"emptied": func(_ *testing.T, path string) error { return os.WriteFile(path, nil, 0o600) },
		"rewritten": func(t *testing.T, path string) error {
			return os.WriteFile(path, []byte(strings.Join(linesOfOtherLog(t, 3), "")), 0o600)
		},
	} {
		path := filepath.Join(t.TempDir(), "audit")
		f := open(t, path, audit.Options{Log: discardLog})
		for n := range 3 {
			require.NoError(t, f.Record(t.Context(), useEvent(n)))
			chain := filepath.Dir(firstFile(path))
			files, err := filepath.Glob(filepath.Join(chain, "*.log"))
			require.NoError(t, err)
			require.NoError(t, take(t, files[len(files)-1]), name)
			require.NoError(t, f.Ready(t.Context()))
			require.NoError(t, f.Ready(t.Context()))
			require.NoError(t, f.Record(t.Context(), useEvent(n)))
			require.Equal(t, n+1, strings.Count(logText(t, path), `"action":"audit.altered"`), name)
		}
	}
}

// A file that was moved away and back was not altered, whether or not the head names its last line.
func TestRestoredFileIsNotAltered(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "audit")
		f := open(t, path, audit.Options{Log: discardLog})
		require.NoError(t, f.Record(t.Context(), useEvent(1), useEvent(2)))
		audit.WaitForNextCheck()
		require.NoError(t, os.Rename(firstFile(path), path+".kept"))
		require.NoError(t, os.Symlink("/dev/full", firstFile(path)))
		require.Error(t, f.Record(t.Context(), useEvent(3)))
		require.NoError(t, os.Remove(firstFile(path)))
		require.NoError(t, os.Rename(path+".kept", firstFile(path)))
		require.NoError(t, f.Record(t.Context(), useEvent(4)))
		require.NoError(t, f.Close())
		require.Nil(t, verify(t, path).Fault)
	}
}

// The server's log warns when a new audit log is created, and Verify reports the time of its first line.
func TestNewLogIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	var log bytes.Buffer
	for range 2 {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, f.Record(t.Context(), useEvent(1)))
		require.NoError(t, f.Close())
	}
	require.Equal(t, 1, strings.Count(log.String(), "starting a new one"))
	require.Equal(t, logLines(t, path)[0]["time"], verify(t, path).Chains[0].FirstTime)
}
