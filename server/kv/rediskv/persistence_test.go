package rediskv_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

func TestCheckDurableRequiresSyncedWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := rediskv.New(client)
	require.ErrorIs(t, s.CheckDurable(t.Context()), rediskv.ErrNotDurable)
	for setting, value := range map[string]string{"appendonly": "yes", "appendfsync": "always"} {
		require.NoError(t, client.ConfigSet(t.Context(), setting, value).Err())
	}
	require.NoError(t, s.CheckDurable(t.Context()))
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	require.ErrorIs(t, s.CheckDurable(t.Context()), rediskv.ErrNotDurable)
	server.Stop()
	err := s.CheckDurable(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, rediskv.ErrNotDurable)
}
