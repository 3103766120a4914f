//go:build !windows

package seal_test

import (
	"bytes"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// worked is how long this process has had a processor: what others do meanwhile is not in it.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// Concurrent readers of one salt share one derivation, and later ones find it: 64 reads cost about one. The
// class and the use need none of their own either.
func TestDerivationIsShared(t *testing.T) {
	writer := services(t)["passphrase"]
	var packages [][]byte
	for _, class := range classify.All {
		pkg, err := writer.Encrypt([]byte("x"), class, nil)
		require.NoError(t, err)
		packages = append(packages, pkg)
	}
	reader := services(t)["passphrase"]
	start := worked(t)
	_, err := reader.Decrypt(packages[0])
	require.NoError(t, err)
	one := worked(t) - start

	reader = services(t)["passphrase"]
	start = worked(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, err := reader.Decrypt(packages[i%len(packages)]); err != nil {
				panic(err)
			}
		})
	}
	wg.Wait()
	require.Less(t, worked(t)-start, 20*one)
	tampered := bytes.Clone(packages[0])
	tampered[len(tampered)-1] ^= 1
	start = worked(t)
	for range 64 {
		_, err := reader.Decrypt(tampered)
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	}
	require.Less(t, worked(t)-start, 20*one)
}
