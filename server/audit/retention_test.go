package audit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// TestRotation: the chain goes on from file to file; what retention deleted is told, and nothing else may be missing.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(keep int) {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{MaxSize: 2000, Keep: keep, Sync: audit.SyncLater})
		require.NoError(t, err)
		for i := range 40 {
			require.NoError(t, f.Record(t.Context(), use(i)))
		}
		require.NoError(t, f.Close())
	}
	write(0)
	files, err := audit.Files(path)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 4, "nothing is deleted unless it is told to")
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(2000))
	}
	v := verify(t, path)
	require.Nil(t, v.Fault)
	require.Equal(t, []any{uint64(1), uint64(40), len(files)}, []any{v.From, v.Last, v.Files})
	early := audit.Anchor{Seq: 1}

	write(2)
	files, err = audit.Files(path)
	require.NoError(t, err)
	require.Len(t, files, 3)
	v = verify(t, path, early)
	require.Nil(t, v.Fault)
	require.Greater(t, v.From, uint64(40))
	require.Equal(t, v.Last+1-v.From, v.Lines)
	require.Equal(t, []string{early.String()}, v.Unchecked)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), `"action":"audit.pruned"`)

	require.NoError(t, os.Remove(files[0]))
	require.Equal(t, audit.Removed, verify(t, path).Fault.Kind)
}

// TestNotDeletedWhenAltered: an earlier file that the next one does not follow is evidence.
func TestNotDeletedWhenAltered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{MaxSize: 2000, Keep: 1, Log: quiet, Sync: audit.SyncLater})
	for len(readLog(t, path).names) < 2 {
		require.NoError(t, f.Record(t.Context(), use(1)))
	}
	c := readLog(t, path)
	c.lines[0] = c.lines[0][:len(c.lines[0])-1]
	content{c.names[:1], c.lines[:1]}.write(t)
	for range 20 {
		require.NoError(t, f.Record(t.Context(), use(1)))
	}
	require.FileExists(t, c.names[0])
}

// TestFilesOfBefore: a file of before what retention kept is shown to nobody, and verify finds it, unless it
// is the one that a kill left; retention goes on.
func TestFilesOfBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(until func() bool) {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{MaxSize: 2000, Keep: 2, Sync: audit.SyncLater, Log: quiet})
		require.NoError(t, err)
		for !until() {
			require.NoError(t, f.Record(t.Context(), use(1)))
		}
		require.NoError(t, f.Close())
	}
	var first, second string // as they were before they were deleted
	var names []string
	write(func() bool {
		names = readLog(t, path).names
		return len(names) == 3
	})
	first, second = names[0], names[1]
	contents := map[string]string{}
	for _, name := range names[:2] {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		contents[name] = string(text)
	}
	write(func() bool {
		_, err := os.Stat(second)
		return err != nil
	})
	forged := `{"v":1,"seq":1,"time":"2026-11-30T00:00:00.000Z","severity":"critical","action":"tenant.shred","outcome":"ok","tenant":"forged","mac":"` +
		strings.Repeat("0", 64) + "\"}\n"
	before := filepath.Join(filepath.Dir(path), "audit-00000000000000000001.log")
	for name, c := range map[string]struct {
		path, text string
		found      bool
	}{
		"left by a kill":   {second, contents[second], false},
		"earlier":          {first, contents[first], true},
		"forged":           {before, forged, true},
		"forged, as named": {second, forged, true},
	} {
		require.NoError(t, os.WriteFile(c.path, []byte(c.text), 0o600))
		require.Empty(t, tailOf(t, path, 100, audit.Filter{Tenant: "forged"}), name)
		entries, _, err := audit.Page(t.Context(), path, audit.Query{Filter: audit.Filter{Tenant: "forged"}, Limit: 10})
		require.NoError(t, err)
		require.Empty(t, entries, name)
		require.NotContains(t, readLog(t, path).names, c.path, name)
		v := verify(t, path)
		require.Equal(t, c.found, v.Fault != nil, name)
		if c.found {
			require.Equal(t, []any{audit.Inserted, filepath.Base(c.path)}, []any{v.Fault.Kind, v.Fault.File}, name)
		}
		require.NoError(t, os.Remove(c.path))
	}
	require.NoError(t, os.WriteFile(before, []byte(forged), 0o600))
	oldest := readLog(t, path).names[0]
	write(func() bool {
		_, err := os.Stat(oldest)
		return err != nil
	})
	require.FileExists(t, before)
}
