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

// TestAlteredWhileItRuns: a process that writes notices that lines are gone, says so, and leaves the gap to
// be found from then on, also after others took over.
func TestAlteredWhileItRuns(t *testing.T) {
	for name, alter := range map[string]func(content) content{
		"truncated": func(c content) content { c.lines[0] = c.lines[0][:2]; return c },
		"within":    func(c content) content { c.lines[0] = append(c.lines[0][:2], c.lines[0][2][:30]); return c },
		"emptied":   func(c content) content { c.lines[0] = nil; return c },
		"rewritten": func(c content) content { c.lines[0] = otherLog(t, 6); return c },
	} {
		for _, running := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), "audit")
			told := 0
			options := audit.Options{Log: quiet, OnAltered: func() { told++ }}
			f, err := audit.Open(path, keyOf(t, path), options)
			require.NoError(t, err)
			for i := range 5 {
				require.NoError(t, f.Record(t.Context(), use(i)))
			}
			if !running {
				require.NoError(t, f.Close())
			}
			audit.WaitForNextCheck()
			alter(readLog(t, path)).write(t)
			if !running {
				f, err = audit.Open(path, keyOf(t, path), options)
				require.NoError(t, err)
			}
			for range 3 {
				require.NoError(t, f.Record(t.Context(), use(9)))
			}
			require.NoError(t, f.Close())
			require.NoError(t, open(t, path, options).Record(t.Context(), use(10)))
			require.Equal(t, 1, told, "%s: once", name)
			all := lines(t, path)
			require.Equal(t, 9.0, all[len(all)-2]["seq"], name)
			last := all[len(all)-1]
			require.Equal(t, []any{2.0, "audit.altered", "critical", map[string]any{"from": "1:5"}}, []any{last["chain"], last["action"], last["severity"], last["facts"]})
			require.NotNil(t, verify(t, path).Fault, name)
		}
	}
}

// TestChainTakenAway: a process goes on, and records it, if a chain's directory is taken away, with the lines that retention keeps.
func TestChainTakenAway(t *testing.T) {
	for _, running := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "audit")
		told := 0
		options := audit.Options{Log: quiet, OnAltered: func() { told++ }}
		f := open(t, path, options)
		require.NoError(t, f.Record(t.Context(), use(1), audit.Event{Action: audit.KeyDestroy}))
		if !running {
			require.NoError(t, f.Close())
		}
		require.NoError(t, os.RemoveAll(filepath.Join(path, "2")))
		if !running {
			f = open(t, path, options)
		}
		require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.KeyDestroy}))
		require.NoError(t, f.Close())
		require.Equal(t, 1, told)
		require.Contains(t, text(t, path), `"action":"audit.altered"`)
		require.Equal(t, audit.FaultRemoved, verify(t, path).Fault.Kind)
	}
}

// TestNotFound: a log that is not ready reports it if its directory or its list of chains is removed or has another name, once, and is
// ready again when they are back. It begins another file for one that was removed, and records that, though there is no event.
func TestNotFound(t *testing.T) {
	for name, c := range map[string]struct {
		take, putBack func(path string) error
	}{
		"directory removed": {take: func(path string) error { // at once: the log writes a head there at any time
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
			return errors.Join(open(t, other, audit.Options{Log: quiet}).Close(), os.Rename(filepath.Join(other, "chains"), filepath.Join(path, "chains")))
		}},
		"file removed": {
			take:    func(path string) error { return os.Remove(first(path)) },
			putBack: func(string) error { return nil },
		},
		"file replaced": {
			take: func(path string) error {
				return errors.Join(os.Remove(first(path)), os.WriteFile(first(path), nil, 0o600))
			},
			putBack: func(string) error { return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "audit")
			var said output
			f := open(t, path, audit.Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
			require.NoError(t, f.Record(t.Context(), use(1)))
			require.NoError(t, f.Ready(t.Context()))
			awaitHead(t, f, path)
			errorsSaid := func() int { return strings.Count(said.String(), "level=ERROR") }
			require.Zero(t, errorsSaid())

			require.NoError(t, c.take(path))
			missing := strings.HasPrefix(name, "file")
			if !missing {
				require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
			}
			if !strings.HasPrefix(name, "list") {
				require.Eventually(t, func() bool { _ = f.Ready(t.Context()); return errorsSaid() > 0 }, time.Minute, time.Millisecond)
			}
			_ = f.Record(t.Context(), use(2))
			if !missing {
				require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
			}
			require.LessOrEqual(t, errorsSaid(), 1, said.String())
			if c.putBack != nil {
				require.Eventually(t, func() bool { return c.putBack(path) == nil }, time.Minute, time.Millisecond) // the log may be begun again in between
				require.Eventually(t, func() bool { return f.Ready(t.Context()) == nil }, time.Minute, time.Millisecond)
				require.NoError(t, f.Record(t.Context(), use(3)))
			}
			if missing {
				require.Contains(t, text(t, path), `"action":"audit.altered"`)
			}
		})
	}
}

// TestMissingLinesAreReportedOnce: lines that Ready found to be missing are not recorded again with the next line. Lines that are missing
// later are.
func TestMissingLinesAreReportedOnce(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, path string) error{
		"removed": func(_ *testing.T, path string) error { return os.Remove(path) },
		"emptied": func(_ *testing.T, path string) error { return os.WriteFile(path, nil, 0o600) },
		"rewritten": func(t *testing.T, path string) error {
			return os.WriteFile(path, []byte(strings.Join(otherLog(t, 3), "")), 0o600)
		},
	} {
		path := filepath.Join(t.TempDir(), "audit")
		f := open(t, path, audit.Options{Log: quiet})
		for n := range 3 {
			require.NoError(t, f.Record(t.Context(), use(n)))
			chain := filepath.Dir(first(path))
			files, err := filepath.Glob(filepath.Join(chain, "*.log"))
			require.NoError(t, err)
			require.NoError(t, take(t, files[len(files)-1]), name)
			require.NoError(t, f.Ready(t.Context()))
			require.NoError(t, f.Ready(t.Context()))
			require.NoError(t, f.Record(t.Context(), use(n)))
			require.Equal(t, n+1, strings.Count(text(t, path), `"action":"audit.altered"`), name)
		}
	}
}

// TestPutBack: a log that was away for a moment, and is back whole, was not altered, be the last line noted or not.
func TestPutBack(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "audit")
		f := open(t, path, audit.Options{Log: quiet})
		require.NoError(t, f.Record(t.Context(), use(1), use(2)))
		audit.WaitForNextCheck()
		require.NoError(t, os.Rename(first(path), path+".kept"))
		require.NoError(t, os.Symlink("/dev/full", first(path)))
		require.Error(t, f.Record(t.Context(), use(3)))
		require.NoError(t, os.Remove(first(path)))
		require.NoError(t, os.Rename(path+".kept", first(path)))
		require.NoError(t, f.Record(t.Context(), use(4)))
		require.NoError(t, f.Close())
		require.Nil(t, verify(t, path).Fault)
	}
}

// TestBegun: the server's log warns when a log is begun, and verify reports the time of its first line.
func TestBegun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	var said bytes.Buffer
	for range 2 {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
		require.NoError(t, err)
		require.NoError(t, f.Record(t.Context(), use(1)))
		require.NoError(t, f.Close())
	}
	require.Equal(t, 1, strings.Count(said.String(), "one is begun"))
	require.Equal(t, lines(t, path)[0]["time"], verify(t, path).Chains[0].FirstTime)
}
