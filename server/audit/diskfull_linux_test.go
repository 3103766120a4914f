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

func TestFullDisk(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "fillsDisk", t.TempDir())
}

// On a full disk events are refused with the reason, and lines end whole. Once there is space again, the log continues, names how
// many events it lost, and verifies.
func fillDisk(t testing.TB) {
	root := os.Args[1]
	proctest.MountSmall(t, root, "1m")
	path, key := filepath.Join(root, "audit"), audit.NewKey(new(secret.Key))
	f, err := audit.Open(path, key, audit.Options{Log: quiet, Timeout: time.Minute})
	require.NoError(t, err)
	written, refused := 0, 0
	for ; err == nil; written++ {
		require.Less(t, written, 100_000, "the disk does not fill")
		err = f.Record(t.Context(), use(written))
	}
	written--
	for ; refused < 20; refused++ {
		require.ErrorIs(t, err, audit.ErrUnavailable)
		require.ErrorContains(t, err, "no space left")
		require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
		err = f.Record(t.Context(), use(0))
	}
	require.NoError(t, syscall.Mount("", root, "", syscall.MS_REMOUNT, "size=2m"))
	require.NoError(t, f.Record(t.Context(), use(1)))
	require.NoError(t, f.Close())
	var lost uint64
	lines := 0
	require.NoError(t, audit.ReadVerified(t.Context(), path, key, &audit.Filter{}, func(l *audit.Line) {
		lines++
		lost += l.Lost
	}))
	require.Equal(t, written+2, lines, "those before, the one that names the gap, and the one after")
	require.EqualValues(t, refused+1, lost)
	report, err := audit.Verify(t.Context(), path, key, nil, nil)
	require.NoError(t, err)
	require.Nil(t, report.Fault)
}

func TestReserve(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "spendsReserve", t.TempDir())
}

// If others take all of the disk, events are recorded in new files too, and a log opens, for as long as the reserve lasts. Others can
// take what it releases. It is whole again once there is space, and no line is missing or cut short.
func spendReserve(t testing.TB) {
	root := os.Args[1]
	proctest.MountSmall(t, root, "48m")
	path, key := filepath.Join(root, "audit"), audit.NewKey(new(secret.Key))
	options := audit.Options{Log: quiet, Timeout: time.Minute, MaxSize: 1 << 20}
	f, err := audit.Open(path, key, options)
	require.NoError(t, err)
	filler, err := os.Create(filepath.Join(root, "filler"))
	require.NoError(t, err)
	written := 0
	record := func(n int) {
		for range n {
			require.NoError(t, f.Record(t.Context(), use(written)))
			written++
		}
	}
	for range 10 {
		proctest.TakeSpace(t, filler)
		record(1000)
		require.NoError(t, f.Ready(t.Context()))
	}
	require.NoError(t, f.Close())
	proctest.TakeSpace(t, filler)
	f, err = audit.Open(path, key, options)
	require.NoError(t, err)
	record(10_000)
	require.NoError(t, f.Ready(t.Context()))
	for err = nil; err == nil; {
		require.Less(t, written, 100_000, "the disk does not fill")
		if err = f.Record(t.Context(), use(written)); err == nil {
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
	require.Equal(t, written+1, lines, "those that were recorded, and the one that names the gap")
	require.EqualValues(t, 1, lost)
	report, err := audit.Verify(t.Context(), path, key, nil, nil)
	require.NoError(t, err)
	require.Nil(t, report.Fault)
}
