package durable

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A lock can be acquired right after it was released, although a process that was forked before still has its file
// open.
func TestUnlockWorksBesideFork(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path)
	require.NoError(t, err)
	copied := false
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, file := range files {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%s", file.Name())); err == nil && target == path {
			number, err := strconv.Atoi(file.Name())
			require.NoError(t, err)
			fork, err := syscall.Dup(number)
			require.NoError(t, err)
			defer syscall.Close(fork)
			copied = true
		}
	}
	require.True(t, copied)
	unlock()
	unlock, locked, err := TryLock(path)
	require.NoError(t, err)
	require.True(t, locked)
	unlock()
}
