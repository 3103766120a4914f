package audit_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/seal/secret"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func(testing.TB){"fillsDisk": fillDisk})
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "fillsDisk", t.TempDir())
}

// On a full disk events are refused with the reason, and lines end whole. Once there is space again, the log continues, names how
// many events it lost, and verifies.
func fillDisk(t testing.TB) {
	root := os.Args[1]
	require.NoError(t, syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"))
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
	require.NoError(t, audit.Each(t.Context(), path, key, &audit.Filter{}, func(l *audit.Line) {
		lines++
		lost += l.Lost
	}))
	require.Equal(t, written+2, lines, "those before, the one that names the gap, and the one after")
	require.EqualValues(t, refused+1, lost)
	report, err := audit.Verify(t.Context(), path, key, nil, nil)
	require.NoError(t, err)
	require.Nil(t, report.Fault)
}
