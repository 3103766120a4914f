package audit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// recordUntil records events until a condition is met.
func recordUntil(t *testing.T, f *audit.File, until func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !until(); {
		require.True(t, time.Now().Before(deadline), "the condition was not met in time")
		require.NoError(t, f.Record(t.Context(), useEvent(1)))
	}
}

// filesOf returns the files of the first chain.
func filesOf(t *testing.T, dir string) (names []string) {
	for _, name := range readContent(t, dir).names {
		if strings.Contains(name, "/1/") {
			names = append(names, name)
		}
	}
	return names
}

// openPruned opens a log and records events until retention has deleted its first file.
func openPruned(t *testing.T, options audit.Options, record ...audit.Event) (*audit.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit")
	options.MaxSize, options.Sync, options.Log = 2000, audit.SyncLater, discardLog
	f := open(t, path, options)
	require.NoError(t, f.Record(t.Context(), record...))
	recordUntil(t, f, func() bool {
		_, err := os.Stat(firstFile(path))
		return err != nil
	})
	return f, path
}

// The chain continues from file to file. Deletions by retention are recorded, and any other missing file is a fault.
func TestChainContinuesAcrossFiles(t *testing.T) {
	f, path := openPruned(t, audit.Options{Keep: 2}, useEvent(1))
	require.NoError(t, f.Close())
	for i, lines := range readContent(t, path).lines {
		require.LessOrEqual(t, len(strings.Join(lines, "")), 2000, i)
	}
	early := audit.Anchor{Chain: 1, Seq: 1}
	v := verify(t, path)
	require.Nil(t, v.Fault)
	require.Greater(t, v.Chains[0].FirstSeq, uint64(1))
	_, err := audit.Verify(t.Context(), path, keyOf(t, path), audit.Heads{early}, nil)
	require.ErrorIs(t, err, audit.ErrPruned)
	require.Contains(t, logText(t, path), `"action":"audit.pruned"`)

	f = open(t, path, audit.Options{MaxSize: 2000})
	n := len(filesOf(t, path))
	recordUntil(t, f, func() bool { return len(filesOf(t, path)) == n+5 })
	require.NoError(t, f.Close())
	require.Nil(t, verify(t, path).Fault, "without Keep, nothing is deleted")
	require.NoError(t, os.Remove(filesOf(t, path)[0]))
	require.Equal(t, audit.FaultRemoved, verify(t, path).Fault.Kind)
}

// A file also ends when its first line is too old.
func TestFileEndsByAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{MaxAge: time.Nanosecond})
	recordUntil(t, f, func() bool { return len(filesOf(t, path)) == 3 })
	require.NoError(t, f.Close())
	require.Nil(t, verify(t, path).Fault)
}

// Events that shred a tenant or destroy a key stay on record after any number of files were deleted.
func TestPermanentEventsOutliveRetention(t *testing.T) {
	job := audit.Facts{audit.FactJob: "j", audit.FactTo: "2026-11-30T00:00:00.000Z"}
	shred := audit.Event{Action: audit.TenantShred, Tenant: "clinic", Facts: job}
	failed := shred
	failed.Code = "keyring_unavailable"
	destroy := audit.Event{Action: audit.KeyDestroy, Tenant: "other", KeyID: [32]byte{7}}
	f, path := openPruned(t, audit.Options{Keep: 1}, shred, failed, destroy, useEvent(1), audit.Event{Action: audit.TokenRevoke})
	recordUntil(t, f, func() bool { return strings.Count(logText(t, path), "audit.pruned") > 2 })
	require.NoError(t, f.Record(t.Context(), destroy))
	last := filesOf(t, path)
	recordUntil(t, f, func() bool {
		_, err := os.Stat(last[len(last)-1])
		return err != nil
	})
	require.NoError(t, f.Close())
	require.Nil(t, verify(t, path).Fault)

	var kept []audit.Line
	require.NoError(t, audit.ReadVerified(t.Context(), path, keyOf(t, path), &audit.Filter{Severity: audit.Notice}, func(l *audit.Line) {
		if l.Chain == 2 {
			kept = append(kept, *l)
		}
	}))
	require.Len(t, kept, 4, "the revocation of a token is not in the second chain")
	require.Equal(t, []string{"tenant.shred", "clinic", "ok", "j"}, []string{kept[0].Action, kept[0].Tenant, kept[0].Outcome, kept[0].Facts["job"]})
	require.Equal(t, []string{"failed", "keyring_unavailable"}, []string{kept[1].Outcome, kept[1].Code})
	require.Equal(t, []string{"key.destroy", "other"}, []string{kept[2].Action, kept[2].Tenant})
	entries, _ := readPage(t, path, audit.Query{Filter: audit.Filter{Action: "tenant.shred"}, Limit: 10})
	require.Len(t, entries, 2)

	for _, name := range readContent(t, path).names {
		if strings.Contains(name, "/2/") {
			require.NoError(t, os.Remove(name))
		}
	}
	require.Equal(t, audit.FaultTruncated, verify(t, path).Fault.Kind)
}

// A file that was altered, or that the next file does not continue, is evidence and stays.
func TestAlteredFileIsNotDeleted(t *testing.T) {
	for name, alter := range map[string]func(lines []string) []string{
		"cut":    func(lines []string) []string { return lines[:len(lines)-1] },
		"forged": func(lines []string) []string { return append(lines, linesOfOtherLog(t, len(lines)+1)[len(lines)]) },
		"changed": func(lines []string) []string {
			lines[1] = strings.Replace(lines[1], "key.open", "key.seal", 1)
			return lines
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit")
			f := open(t, path, audit.Options{MaxSize: 2000, Keep: 2, Log: discardLog, Sync: audit.SyncLater})
			recordUntil(t, f, func() bool { return len(filesOf(t, path)) == 2 })
			c := readContent(t, path)
			logContent{c.names[:1], [][]string{alter(c.lines[0])}}.write(t)
			recordUntil(t, f, func() bool { return len(filesOf(t, path)) == 6 })
			require.NoError(t, f.Close())
			require.FileExists(t, firstFile(path))
			require.NotNil(t, verify(t, path).Fault)
		})
	}
}

// A file that retention had deleted is never shown. Verify reports it, unless it is the one that a kill may leave.
// Retention continues.
func TestLeftoverOfDeletedFileIsNotShown(t *testing.T) {
	forged := `{"v":1,"chain":1,"seq":1,"time":"2026-11-30T00:00:00.000Z","severity":"critical","action":"tenant.shred","outcome":"ok","tenant":"forged","mac":"` +
		strings.Repeat("0", 64) + "\"}\n"
	f, path := openPruned(t, audit.Options{Keep: 1}, useEvent(1))
	require.NoError(t, f.Close())
	check := func(found bool) {
		t.Helper()
		require.Empty(t, tailIDs(t, path, 100, audit.Filter{Tenant: "forged"}))
		entries, _ := readPage(t, path, audit.Query{Filter: audit.Filter{Tenant: "forged"}, Limit: 10})
		require.Empty(t, entries)
		v := verify(t, path)
		require.Equal(t, found, v.Fault != nil)
		if found {
			require.Equal(t, []any{audit.FaultInserted, displayName(firstFile(path))}, []any{v.Fault.Kind, v.Fault.File})
		}
	}
	check(false)
	oldest := filesOf(t, path)[0]
	require.NoError(t, os.WriteFile(firstFile(path), []byte(forged), 0o600))
	deleted := func() bool {
		_, err := os.Stat(oldest)
		return err != nil
	}
	check(verify(t, path).Fault != nil) // a kill may leave this file if it was deleted last
	f = open(t, path, audit.Options{MaxSize: 2000, Keep: 1, Log: discardLog, Sync: audit.SyncLater})
	recordUntil(t, f, deleted)
	require.NoError(t, os.WriteFile(firstFile(path), []byte(forged), 0o600))
	require.NoError(t, f.Close())
	check(true)
}

// A page skips a file that was deleted after it was listed. A dangling symlink simulates that.
func TestPageSkipsDeletedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{MaxSize: 2000, Sync: audit.SyncLater, Log: discardLog})
	recordUntil(t, f, func() bool { return len(filesOf(t, path)) == 3 })
	require.NoError(t, f.Close())
	require.NoError(t, os.Remove(firstFile(path)))
	require.NoError(t, os.Symlink(filepath.Join(path, "nowhere"), firstFile(path)))
	entries, _ := readPage(t, path, audit.Query{Limit: 5})
	require.Len(t, entries, 5)
	require.Equal(t, audit.FaultRemoved, verify(t, path).Fault.Kind)
}
