package audit_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/server/audit"
)

// A log whose head is missing or forged does not verify, and no process continues it.
func TestForgedHeadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{})
	require.NoError(t, f.Record(t.Context(), useEvent(1)))
	require.NoError(t, f.Close())
	head := filepath.Join(path, "1/head")
	good, err := os.ReadFile(head)
	require.NoError(t, err)
	info, err := os.Stat(head)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		require.NoError(t, os.WriteFile(head, bad, 0o600))
		require.Equal(t, audit.FaultHead, verify(t, path).Fault.Kind)
	}
	_, err = audit.Open(path, keyOf(t, path), audit.Options{})
	require.ErrorIs(t, err, audit.ErrHead)
	require.NoError(t, os.Remove(head))
	require.Equal(t, audit.FaultHead, verify(t, path).Fault.Kind)
	_, err = audit.Open(path, keyOf(t, path), audit.Options{})
	require.ErrorIs(t, err, audit.ErrHead)
	require.ErrorContains(t, err, "restore it")
	require.NoError(t, os.WriteFile(head, good, 0o600))
	require.Nil(t, verify(t, path).Fault)
}

// A head that was kept elsewhere reveals a log that was restored together with its heads, and one that was rewritten
// with the key.
func TestKeptHeadsRevealRollback(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit")
	write := func() (at audit.Anchor) {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{})
		require.NoError(t, err)
		require.NoError(t, f.Record(t.Context(), useEvent(1)))
		require.NoError(t, f.Close())
		head, err := audit.ReadHeads(path, keyOf(t, path))
		require.NoError(t, err)
		return head.Heads[0]
	}
	first := write()
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	second := write()
	for _, text := range []string{first.String(), second.String()} {
		anchor, err := audit.ParseHeads(text)
		require.NoError(t, err)
		require.Nil(t, verify(t, path, anchor...).Fault)
	}
	require.Equal(t, audit.FaultTruncated, verify(t, path, audit.Anchor{Chain: 9, Seq: 1}).Fault.Kind, "the log has no such chain")

	old := filepath.Join(copied, "audit")
	require.Nil(t, verify(t, old, first).Fault, "an old state of the whole log verifies on its own")
	require.Equal(t, audit.FaultTruncated, verify(t, old, second).Fault.Kind)
	path = old
	write() // writes another second line
	fault := verify(t, old, second).Fault
	require.Equal(t, []any{audit.FaultRewritten, 2}, []any{fault.Kind, fault.Line})

	for _, text := range []string{"", "1", "1:1:", "1::" + second.MAC.String(), "1:01:" + second.MAC.String(), "1:1:" + second.MAC.String() + ",", "256:1:" + second.MAC.String(), "1:1:" + strings.ToUpper(second.MAC.String()), "-1:00", "1:1:00", second.String() + "0"} {
		_, err := audit.ParseHeads(text)
		require.ErrorIs(t, err, audit.ErrHeads, text)
	}
}

// waitForHead waits until the head keeper has written the head of a log with one line. It writes no other head before
// there is another line.
func waitForHead(t *testing.T, f *audit.File, path string) {
	t.Helper()
	require.Eventually(t, func() bool {
		now, err := audit.ReadHeads(path, keyOf(t, path))
		return err == nil && len(now.Heads) == 1
	}, time.Minute, 10*time.Millisecond)
	f.WaitForKeeper()
}

// A running process notices that the head is missing or was replaced, and records that, even if it has no other line to
// write.
func TestWriterRecordsLostHead(t *testing.T) {
	for name, take := range map[string]func(head string, first []byte) error{
		"gone":     func(head string, _ []byte) error { return os.Remove(head) },
		"false":    func(head string, _ []byte) error { return durable.Replace(head, []byte("{}\n")) },
		"put back": func(head string, first []byte) error { return durable.Replace(head, first) },
	} {
		for _, more := range []bool{true, false} {
			t.Run(fmt.Sprint(name, more), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "audit")
				head := filepath.Join(path, "1/head")
				reports := 0
				f, err := audit.Open(path, keyOf(t, path), audit.Options{Log: discardLog, OnAltered: func() { reports++ }})
				require.NoError(t, err)
				first, err := os.ReadFile(head)
				require.NoError(t, err)
				require.NoError(t, f.Record(t.Context(), useEvent(1)))
				waitForHead(t, f, path)
				require.NoError(t, take(head, first))
				if more {
					require.NoError(t, f.Record(t.Context(), useEvent(2)))
					require.NoError(t, f.Record(t.Context(), useEvent(3)))
				}
				require.NoError(t, f.Close())
				require.Equal(t, 1, reports, name)
				require.Equal(t, 1, strings.Count(logText(t, path), `"severity":"critical","action":"audit.altered"`), name)
				now, err := audit.ReadHeads(path, keyOf(t, path))
				require.NoError(t, err)
				require.Len(t, now.Heads, 2, name)
				require.EqualValues(t, len(logLines(t, path)), now.Heads[0].Seq+now.Heads[1].Seq, name)
				require.Equal(t, audit.FaultRecorded, verify(t, path).Fault.Kind, name)
			})
		}
	}
}
