package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/internal/redistest"
)

func init() {
	roles["fillsDisk"] = fillDisk
	roles["fillsDiskToMinimum"] = fillDiskToMinimum
}

func TestReadsWorkOnAFullDisk(t *testing.T) {
	t.Parallel()
	path, err := binary()
	require.NoError(t, err)
	redis := redistest.Start(t)
	for name, environ := range map[string][]string{"embedded": nil, "redis": {"REDIS_URL=redis://" + redis.Addr}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proctest.RunMounting(t, "fillsDisk", append([]string{t.TempDir(), path}, environ...)...)
		})
	}
}

// If others fill the disk to the last byte, reads, deletions and a start go on, and the log verifies. /readyz and the server's log
// report storage_full. Once there is space, entries are accepted again.
func fillDisk(t testing.TB) {
	root := os.Args[1]
	binary = func() (string, error) { return os.Args[2], nil }
	proctest.MountSmall(t, root, "256m")
	data := filepath.Join(root, "data")
	environ := append([]string{"COFFER_MIN_FREE=33554432", "COFFER_MAX_BODY=1048576"}, os.Args[3:]...)
	embedded := len(os.Args) == 3
	p := serve(t, data, environ...)
	token, entries := p.token, 300
	for i := range entries {
		p.put(token, fmt.Sprint(i), record)
	}
	require.JSONEq(t, `{"status":"ok"}`, p.answers(http.StatusOK, "", "GET", "/readyz", ""))
	filler, err := os.Create(filepath.Join(root, "filler"))
	require.NoError(t, err)
	full := func() bool {
		status, said := p.do("", "GET", "/readyz", "")
		return status == http.StatusOK && strings.Contains(said, `"degraded":["storage_full"]`)
	}
	next := 0
	works := func() {
		for range 30 {
			status, said := p.do(token, "GET", fmt.Sprint("/v1/cache/", next), "")
			require.Equal(t, http.StatusOK, status, said)
			require.Equal(t, record, said)
			status, said = p.do(token, "DELETE", fmt.Sprint("/v1/cache/", next), "")
			require.Equal(t, http.StatusNoContent, status, said)
			next++
		}
		want := http.StatusNoContent
		if embedded {
			want = http.StatusInsufficientStorage
		}
		status, said := p.do(token, "PUT", "/v1/cache/new?class=phi", record)
		require.Equal(t, want, status, said)
	}
	proctest.FillDisk(t, filler)
	soon(t, full)
	soon(t, func() bool { // the server announces itself every few seconds
		proctest.FillDisk(t, filler)
		return strings.Contains(p.log.String(), "a rotation cannot continue")
	})
	works()
	for range 3 {
		require.Zero(t, p.stop(syscall.SIGTERM), p.log)
		proctest.FillDisk(t, filler) // takes the space that the server released
		p = serve(t, data, environ...)
		p.token = token
		p.accepted(token, "GET", "/v1/cache", "")
		soon(t, full)
		works()
		require.True(t, full(), p.log)
		require.Contains(t, p.log.String(), `"code":"storage_full"`)
		require.NotContains(t, p.log.String(), `unavailable","effect"`)
	}
	require.NoError(t, filler.Truncate(0))
	soon(t, func() bool { _, said := p.do("", "GET", "/readyz", ""); return said == "{\"status\":\"ok\"}\n" })
	p.put(token, "new", record)
	require.Zero(t, p.stop(syscall.SIGTERM), p.log)
	out, err := program(t, nil, "audit", "verify", "--data", data).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "nothing was altered")
}

func TestReadinessReportsNoSpaceForTheLargestEntry(t *testing.T) {
	t.Parallel()
	path, err := binary()
	require.NoError(t, err)
	proctest.RunMounting(t, "fillsDiskToMinimum", t.TempDir(), path)
}

// /readyz reports storage_full if the largest entry that the server accepts is refused, though there is more free space than the minimum.
func fillDiskToMinimum(t testing.TB) {
	root := os.Args[1]
	binary = func() (string, error) { return os.Args[2], nil }
	proctest.MountSmall(t, root, "256m")
	const least, largest = 32 << 20, 8 << 20
	p := serve(t, filepath.Join(root, "data"), fmt.Sprint("COFFER_MIN_FREE=", least), fmt.Sprint("COFFER_MAX_BODY=", largest))
	leave := func(want int64) { // free
		free, err := durable.FreeSpace(root)
		require.NoError(t, err)
		require.Greater(t, free, want)
		require.NoError(t, os.WriteFile(filepath.Join(root, "filler"), make([]byte, free-want), 0o600))
	}
	put := func(size int) int {
		status, _ := p.do(p.token, "PUT", "/v1/cache/a?class=phi", strings.Repeat("v", size))
		return status
	}
	ready := func() string { return p.answers(http.StatusOK, "", "GET", "/readyz", "") }
	leave(least + largest)
	require.Equal(t, http.StatusInsufficientStorage, put(largest))
	require.Equal(t, http.StatusNoContent, put(1000))
	soon(t, func() bool { return strings.Contains(ready(), `"degraded":["storage_full"]`) })
	require.NoError(t, os.Remove(filepath.Join(root, "filler")))
	leave(least + 3*largest)
	soon(t, func() bool { return strings.Contains(ready(), `"ok"`) })
	require.Equal(t, http.StatusNoContent, put(largest))
}
