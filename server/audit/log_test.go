package audit_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// logContent contains the files of a log, chain by chain, oldest first, each as its lines with their newlines.
type logContent struct {
	names []string
	lines [][]string
}

func readContent(t *testing.T, dir string) (c logContent) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted by retention since it was listed
		}
		require.NoError(t, err)
		c.names, c.lines = append(c.names, file), append(c.lines, slices.Collect(strings.Lines(string(text))))
	}
	return c
}

// displayName returns the chain and name of a file.
func displayName(path string) string {
	return filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
}

func (c logContent) clone() logContent {
	lines := make([][]string, len(c.lines))
	for i := range lines {
		lines[i] = slices.Clone(c.lines[i])
	}
	return logContent{c.names, lines}
}

func (c logContent) write(t *testing.T) {
	t.Helper()
	for i, name := range c.names {
		require.NoError(t, os.WriteFile(name, []byte(strings.Join(c.lines[i], "")), 0o600))
	}
}

// torn reports whether a line was cut short.
func (c logContent) torn(file string, line int) bool {
	for i, name := range c.names {
		if displayName(name) == file {
			return line <= len(c.lines[i]) && !strings.HasSuffix(c.lines[i][line-1], "\"}\n")
		}
	}
	return false
}

// firstChange returns the first place where c differs from its original: a line of a file, or the line after the last
// one of a chain.
func (c logContent) firstChange(was logContent) (file string, line int) {
	for i, name := range c.names {
		lines := slices.Collect(strings.Lines(strings.Join(c.lines[i], ""))) // split again, because an alteration may have joined or split lines
		for j, text := range lines {
			if j >= len(was.lines[i]) || was.lines[i][j] != text {
				return displayName(name), j + 1
			}
		}
		if len(lines) == len(was.lines[i]) {
			continue
		}
		file, line = displayName(name), len(lines)+1
		for k := i + 1; k < len(c.names) && filepath.Dir(c.names[k]) == filepath.Dir(name); k++ {
			if file, line = displayName(c.names[k]), len(c.lines[k])+1; line > 1 {
				return file, 1
			}
		}
		return file, line
	}
	return "", 0
}

func verify(t *testing.T, path string, anchors ...audit.Anchor) *audit.Verification {
	t.Helper()
	v, err := audit.Verify(t.Context(), path, keyOf(t, path), anchors, nil)
	require.NoError(t, err)
	return v
}

// randomLog writes a log with several files and chains. Some of its writers were killed in the middle of a line.
func randomLog(t *testing.T, random *rand.Rand) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit")
	options := audit.Options{Sync: audit.SyncLater, MaxSize: 1500 + random.Int64N(3000), Log: discardLog}
	record := func(f *audit.File) {
		for range 1 + random.IntN(10) {
			e := useEvent(random.IntN(1000))
			e.Name = strings.Repeat("n", random.IntN(5))
			require.NoError(t, f.Record(t.Context(), slices.Repeat([]audit.Event{e}, 1+random.IntN(3))...))
		}
	}
	for range 2 + random.IntN(3) {
		f, other := open(t, path, options), open(t, path, options)
		record(f)
		record(other)
		require.NoError(t, f.Close())
		require.NoError(t, other.Close())
		if random.IntN(2) == 0 {
			names := readContent(t, path).names
			appendTo(t, names[len(names)-1], `{"v":1,"chain":3,"seq":99,"time":"2026-01`)
		}
	}
	f, other := open(t, path, options), open(t, path, options)
	record(f)
	record(other)
	require.NoError(t, f.Close())
	require.NoError(t, other.Close())
	return path
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestVerifyReportsProgress(t *testing.T) {
	t.Parallel()
	path := randomLog(t, rand.New(rand.NewPCG(1, 2)))
	files := len(readContent(t, path).names)
	require.Greater(t, files, 2)
	var progress []int
	_, err := audit.Verify(t.Context(), path, keyOf(t, path), nil, func(done, total int) {
		require.Equal(t, files, total)
		progress = append(progress, done)
	})
	require.NoError(t, err)
	require.Len(t, progress, files)
	require.True(t, slices.IsSorted(progress))
}
