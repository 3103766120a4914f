package badgerkv

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// diskUse is what the directory's files take on the disk: badger's open files are long and sparse.
func diskUse(t *testing.T, dir string) int64 {
	t.Helper()
	out, err := exec.Command("du", "-sk", dir).Output()
	require.NoError(t, err)
	var kib int64
	_, err = fmt.Sscan(strings.TrimSpace(string(out)), &kib)
	require.NoError(t, err)
	return kib << 10
}

// The sizes are a sixteenth of what they are outside of tests.
const logSize = valueLogSize / 16

var large = bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

func openSmall(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := openWith(dir, nil, logSize)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// The space of overwritten, deleted and expired large values comes back, and what lives stays.
func TestReclaim(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := openSmall(t, dir)
	kept := large[:1<<16]
	require.NoError(t, s.Set(ctx, "kept", kept, 0))
	for range 3 {
		for i := range 20 {
			require.NoError(t, s.Set(ctx, "overwritten", large, 0))
			require.NoError(t, s.Set(ctx, fmt.Sprint("expired", i), large, time.Second))
		}
		_, err := s.Delete(ctx, "overwritten")
		require.NoError(t, err)
		time.Sleep(1100 * time.Millisecond)
		require.NoError(t, s.collect())
	}
	require.Less(t, diskUse(t, dir), int64(2*logSize), "of %d bytes written", 3*40*len(large))
	got, ok, err := s.Get(ctx, "kept")
	require.NoError(t, err)
	require.True(t, ok && bytes.Equal(kept, got))
	keys, _, err := s.Scan(ctx, "", "", 0)
	require.NoError(t, err)
	require.Equal(t, []string{"kept"}, keys)
}

// Values that expire while nothing is written go too, an hour later at most.
func TestReclaimWhenIdle(t *testing.T) {
	t.Parallel()
	for life := 3 * time.Second; !reclaimsWhenIdle(t, life); life *= 2 {
		t.Logf("%s were over before anything was looked at", life)
	}
}

// reclaimsWhenIdle reports false where a slow machine took longer than the values live, so that there is
// nothing to judge.
func reclaimsWhenIdle(t *testing.T, life time.Duration) bool {
	dir := t.TempDir()
	s := openSmall(t, dir)
	begun := time.Now()
	for i := range 20 {
		require.NoError(t, s.Set(t.Context(), fmt.Sprint(i), large, life))
	}
	expires := time.Now().Add(life)
	require.NoError(t, s.collect())
	used := diskUse(t, dir)
	if time.Since(begun) >= life {
		return false
	}
	require.Greater(t, used, int64(20*len(large)), "they live")
	time.Sleep(time.Until(expires.Add(time.Second)))
	require.NoError(t, s.collect())
	require.Greater(t, diskUse(t, dir), int64(20*len(large)), "too early to look")
	s.flushed = s.flushed.Add(-flushEvery)
	require.NoError(t, s.collect())
	require.Less(t, diskUse(t, dir), int64(logSize))
	return true
}
