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

// cpuTime returns the processor time that this process has used, which does not depend on the load of the machine.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// Concurrent readers of one salt share one derivation, whatever the class, and later readers find its key in the cache.
// So 64 reads take about as long as one.
func TestReadersOfOneSaltShareOneDerivation(t *testing.T) {
	writer := services(t)["passphrase"]
	var packages [][]byte
	for _, class := range classify.All {
		pkg, err := writer.Encrypt(t.Context(), []byte("x"), class, nil)
		require.NoError(t, err)
		packages = append(packages, pkg)
	}
	reader := services(t)["passphrase"]
	start := cpuTime(t)
	_, err := reader.Decrypt(t.Context(), packages[0])
	require.NoError(t, err)
	one := cpuTime(t) - start

	reader = services(t)["passphrase"]
	start = cpuTime(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, err := reader.Decrypt(t.Context(), packages[i%len(packages)]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Less(t, cpuTime(t)-start, 20*one)
	tampered := bytes.Clone(packages[0])
	tampered[len(tampered)-1] ^= 1
	start = cpuTime(t)
	for range 64 {
		_, err := reader.Decrypt(t.Context(), tampered)
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	}
	require.Less(t, cpuTime(t)-start, 20*one)
}
