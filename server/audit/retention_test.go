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

// fill records events until a condition is met.
func fill(t *testing.T, f *audit.File, until func() bool) {
	t.Helper()
	for !until() {
		require.NoError(t, f.Record(t.Context(), use(1)))
	}
}

// filesOf is the files of the first chain.
func filesOf(t *testing.T, dir string) (names []string) {
	for _, name := range readLog(t, dir).names {
		if strings.Contains(name, "/1/") {
			names = append(names, name)
		}
	}
	return names
}

// retained is a log whose first file was deleted, as a process that still runs writes it.
func retained(t *testing.T, options audit.Options, record ...audit.Event) (*audit.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit")
	options.MaxSize, options.Sync, options.Log = 2000, audit.SyncLater, quiet
	f := open(t, path, options)
	require.NoError(t, f.Record(t.Context(), record...))
	fill(t, f, func() bool {
		_, err := os.Stat(first(path))
		return err != nil
	})
	return f, path
}

// TestRotation: the chain goes on from file to file; what retention deleted is recorded, and nothing else may be
// missing.
func TestRotation(t *testing.T) {
	f, path := retained(t, audit.Options{Keep: 2}, use(1))
	require.NoError(t, f.Close())
	for i, lines := range readLog(t, path).lines {
		require.LessOrEqual(t, len(strings.Join(lines, "")), 2000, i)
	}
	early := audit.Anchor{Chain: 1, Seq: 1}
	v := verify(t, path)
	require.Nil(t, v.Fault)
	require.Greater(t, v.Chains[0].FirstSeq, uint64(1))
	_, err := audit.Verify(t.Context(), path, keyOf(t, path), audit.Heads{early}, nil)
	require.ErrorIs(t, err, audit.ErrPruned)
	require.Contains(t, text(t, path), `"action":"audit.pruned"`)

	f = open(t, path, audit.Options{MaxSize: 2000})
	n := len(filesOf(t, path))
	fill(t, f, func() bool { return len(filesOf(t, path)) == n+5 })
	require.NoError(t, f.Close())
	require.Nil(t, verify(t, path).Fault, "nothing is deleted unless it is configured")
	require.NoError(t, os.Remove(filesOf(t, path)[0]))
	require.Equal(t, audit.FaultRemoved, verify(t, path).Fault.Kind)
}

// TestAge: a file is ended by the age of its first line, too.
func TestAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{MaxAge: time.Nanosecond})
	fill(t, f, func() bool { return len(filesOf(t, path)) == 3 })
	require.NoError(t, f.Close())
	require.Nil(t, verify(t, path).Fault)
}

// TestEndsAreKept: ends of tenants and keys stay on record for as long as the log does, after any number of files were
// deleted.
func TestEndsAreKept(t *testing.T) {
	job := audit.Facts{audit.FactJob: "j", audit.FactTo: "2026-11-30T00:00:00.000Z"}
	shred := audit.Event{Action: audit.TenantShred, Tenant: "clinic", Facts: job}
	failed := shred
	failed.Code = "keyring_unavailable"
	destroy := audit.Event{Action: audit.KeyDestroy, Tenant: "other", KeyID: [32]byte{7}}
	f, path := retained(t, audit.Options{Keep: 1}, shred, failed, destroy, use(1), audit.Event{Action: audit.TokenRevoke})
	fill(t, f, func() bool { return strings.Count(text(t, path), "audit.pruned") > 2 })
	require.NoError(t, f.Record(t.Context(), destroy))
	last := filesOf(t, path)
	fill(t, f, func() bool {
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
	require.Len(t, kept, 4, "and not what is no end")
	require.Equal(t, []string{"tenant.shred", "clinic", "ok", "j"}, []string{kept[0].Action, kept[0].Tenant, kept[0].Outcome, kept[0].Facts["job"]})
	require.Equal(t, []string{"failed", "keyring_unavailable"}, []string{kept[1].Outcome, kept[1].Code})
	require.Equal(t, []string{"key.destroy", "other"}, []string{kept[2].Action, kept[2].Tenant})
	entries, _ := page(t, path, audit.Query{Filter: audit.Filter{Action: "tenant.shred"}, Limit: 10})
	require.Len(t, entries, 2)

	for _, name := range readLog(t, path).names {
		if strings.Contains(name, "/2/") {
			require.NoError(t, os.Remove(name))
		}
	}
	require.Equal(t, audit.FaultTruncated, verify(t, path).Fault.Kind)
}

// TestNotDeletedWhenAltered: a file that is not as it was written, or that the next one does not follow, is evidence.
func TestNotDeletedWhenAltered(t *testing.T) {
	for name, alter := range map[string]func(lines []string) []string{
		"cut":    func(lines []string) []string { return lines[:len(lines)-1] },
		"forged": func(lines []string) []string { return append(lines, otherLog(t, len(lines)+1)[len(lines)]) },
		"changed": func(lines []string) []string {
			lines[1] = strings.Replace(lines[1], "key.open", "key.seal", 1)
			return lines
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit")
			f := open(t, path, audit.Options{MaxSize: 2000, Keep: 2, Log: quiet, Sync: audit.SyncLater})
			fill(t, f, func() bool { return len(filesOf(t, path)) == 2 })
			c := readLog(t, path)
			content{c.names[:1], [][]string{alter(c.lines[0])}}.write(t)
			fill(t, f, func() bool { return len(filesOf(t, path)) == 6 })
			require.NoError(t, f.Close())
			require.FileExists(t, first(path))
			require.NotNil(t, verify(t, path).Fault)
		})
	}
}

// TestFilesOfBefore: a file of lines that retention deleted is never shown, and verify finds it unless it is the one
// that a kill may leave; retention goes on.
func TestFilesOfBefore(t *testing.T) {
	forged := `{"v":1,"chain":1,"seq":1,"time":"2026-11-30T00:00:00.000Z","severity":"critical","action":"tenant.shred","outcome":"ok","tenant":"forged","mac":"` +
		strings.Repeat("0", 64) + "\"}\n"
	f, path := retained(t, audit.Options{Keep: 1}, use(1))
	require.NoError(t, f.Close())
	check := func(found bool) {
		t.Helper()
		require.Empty(t, tailOf(t, path, 100, audit.Filter{Tenant: "forged"}))
		entries, _ := page(t, path, audit.Query{Filter: audit.Filter{Tenant: "forged"}, Limit: 10})
		require.Empty(t, entries)
		v := verify(t, path)
		require.Equal(t, found, v.Fault != nil)
		if found {
			require.Equal(t, []any{audit.FaultInserted, base(first(path))}, []any{v.Fault.Kind, v.Fault.File})
		}
	}
	check(false)
	oldest := filesOf(t, path)[0]
	require.NoError(t, os.WriteFile(first(path), []byte(forged), 0o600))
	deleted := func() bool {
		_, err := os.Stat(oldest)
		return err != nil
	}
	check(verify(t, path).Fault != nil) // the one that a kill may leave, if it was deleted last
	f = open(t, path, audit.Options{MaxSize: 2000, Keep: 1, Log: quiet, Sync: audit.SyncLater})
	fill(t, f, deleted)
	require.NoError(t, os.WriteFile(first(path), []byte(forged), 0o600))
	require.NoError(t, f.Close())
	check(true)
}

// A reader shows the lines of a chain while retention deletes its first file. A link that leads nowhere is like a file that was listed
// and is gone.
func TestReadWhileDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{MaxSize: 2000, Sync: audit.SyncLater, Log: quiet})
	fill(t, f, func() bool { return len(filesOf(t, path)) == 3 })
	require.NoError(t, f.Close())
	require.NoError(t, os.Remove(first(path)))
	require.NoError(t, os.Symlink(filepath.Join(path, "nowhere"), first(path)))
	entries, _ := page(t, path, audit.Query{Limit: 5})
	require.Len(t, entries, 5)
	require.Equal(t, audit.FaultRemoved, verify(t, path).Fault.Kind)
}
