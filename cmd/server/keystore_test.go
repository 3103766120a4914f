package main_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// A data directory can be lost.
func TestServersShareKeysetsInRedis(t *testing.T) {
	t.Parallel()
	keysets, cache := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"), redistest.Start(t)
	environ := []string{
		"COFFER_KEYS_REDIS_URL=redis://" + keysets.Addr, "REDIS_URL=redis://" + cache.Addr, "ENCRYPTION_MASTER_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}
	first, second := serve(t, t.TempDir(), environ...), serve(t, t.TempDir(), environ...)
	first.put(first.token, "k", record)
	require.Empty(t, second.token, "the environment has a token")
	second.requireValue(first.token, "k", record)
	require.Zero(t, first.stop(syscall.SIGTERM))
	third := serve(t, t.TempDir(), environ...)
	third.requireValue(first.token, "k", record)
}

func TestServerRefusesARedisThatIsNotDurableForKeysets(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	data := t.TempDir()
	environ := []string{"COFFER_KEYS_REDIS_URL=redis://" + server.Addr, "REDIS_URL=redis://" + server.Addr}
	said := fails(t, program(t, environ, "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, said, "COFFER_KEYS_REDIS_URL")
	require.Contains(t, said, "appendonly yes")
	_, err := os.Stat(filepath.Join(data, "master.key"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
