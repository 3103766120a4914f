package audit_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func(testing.TB){"fillsDisk": fillDisk, "spendsReserve": spendReserve})
}

func TestLogContinuesAfterFullDisk(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "fillsDisk", t.TempDir())
}

// On a full disk, events are refused with the reason, and no line is cut short. When there is space again, the log
// continues, reports how many events it lost, and verifies.
func fillDisk(t testing.TB) {
	root := os.Args[1]
	proctest.MountSmall(t, root, "1m")
	path, key := filepath.Join(root, "audit"), audit.NewKey(new(secret.Key))
	f, err := audit.Open(path, key, audit.Options{Log: discardLog, Timeout: time.Minute})
	require.NoError(t, err)
	written, refused := 0, 0
	for ; err == nil; written++ {
		require.Less(t, written, 100_000, "the disk did not become full")
		err = f.Record(t.Context(), useEvent(written))
	}
	written--
	for ; refused < 20; refused++ {
		require.ErrorIs(t, err, audit.ErrUnavailable)
		require.ErrorContains(t, err, "no space left")
		require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
		err = f.Record(t.Context(), useEvent(0))
	}
	require.NoError(t, syscall.Mount("", root, "", syscall.MS_REMOUNT, "size=2m"))
	require.NoError(t, f.Record(t.Context(), useEvent(1)))
	require.NoError(t, f.Close())
	var lost uint64
	lines := 0
	require.NoError(t, audit.ReadVerified(t.Context(), path, key, &audit.Filter{}, func(l *audit.Line) {
		lines++
		lost += l.Lost
	}))
	require.Equal(t, written+2, lines, "all recorded events, and the line that reports the gap")
	require.EqualValues(t, refused+1, lost)
	report, err := audit.Verify(t.Context(), path, key, nil, nil)
	require.NoError(t, err)
	require.Nil(t, report.Fault)
}

func TestReserveIsUsedOnFullDisk(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "spendsReserve", t.TempDir())
}

// If other programs fill the disk, the log still opens and records events, in new files too, until the reserve is used
// up. Other programs can take the space that the reserve releases. The reserve is refilled once there is space, and no
// line is missing or cut short.
func spendReserve(t testing.TB) {
	root := os.Args[1]
	proctest.MountSmall(t, root, "48m")
	path, key := filepath.Join(root, "audit"), audit.NewKey(new(secret.Key))
	options := audit.Options{Log: discardLog, Timeout: time.Minute, MaxSize: 1 << 20}
	f, err := audit.Open(path, key, options)
	require.NoError(t, err)
	filler, err := os.Create(filepath.Join(root, "filler"))
	require.NoError(t, err)
	written := 0
	record := func(n int) {
		for range n {
			require.NoError(t, f.Record(t.Context(), useEvent(written)))
			written++
		}
	}
	for range 10 {
		proctest.FillDisk(t, filler)
		record(1000)
		require.NoError(t, f.Ready(t.Context()))
	}
	require.NoError(t, f.Close())
	proctest.FillDisk(t, filler)
	f, err = audit.Open(path, key, options)
	require.NoError(t, err)
	record(10_000)
	require.NoError(t, f.Ready(t.Context()))
	for err = nil; err == nil; {
		require.Less(t, written, 100_000, "the disk did not become full")
		if err = f.Record(t.Context(), useEvent(written)); err == nil {
			written++
		}
	}
	require.ErrorContains(t, err, "no space left")
	require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)

	require.NoError(t, filler.Truncate(0))
	require.Eventually(t, func() bool {
		info, err := os.Stat(filepath.Join(path, durable.ReserveName))
		return err == nil && info.Size() == durable.ReserveSize && f.Ready(t.Context()) == nil
	}, time.Minute, time.Millisecond)
	record(1)
	require.NoError(t, f.Close())
	var lost uint64
	lines := 0
	require.NoError(t, audit.ReadVerified(t.Context(), path, key, &audit.Filter{}, func(l *audit.Line) {
		lines++
		lost += l.Lost
	}))
	require.Equal(t, written+1, lines, "all recorded events, and the line that reports the gap")
	require.EqualValues(t, 1, lost)
	report, err := audit.Verify(t.Context(), path, key, nil, nil)
	require.NoError(t, err)
	require.Nil(t, report.Fault)
}
