package rediskv_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

func TestAppendStreamTrims(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := rediskv.New(client)
	var values [][]byte
	for i := range 5000 {
		values = append(values, fmt.Append(nil, i))
	}
	require.NoError(t, s.AppendStream(t.Context(), "stream", "f", values, 1000))
	kept, err := client.XRange(t.Context(), "stream", "-", "+").Result()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(kept), 1000)
	require.Less(t, len(kept), 1500, "Redis trims whole nodes, of 100 entries by default")
	for i, one := range kept {
		require.Equal(t, map[string]any{"f": fmt.Sprint(5000 - len(kept) + i)}, one.Values)
	}

	require.NoError(t, client.Set(t.Context(), "text", "planted", 0).Err())
	err = s.AppendStream(t.Context(), "text", "f", values[:1], 1000)
	require.ErrorIs(t, err, kv.ErrWrongType)
	require.NotContains(t, err.Error(), "planted")
	server.Stop()
	require.ErrorIs(t, s.AppendStream(t.Context(), "stream", "f", values[:1], 1000), kv.ErrUnavailable)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.AppendStream(t.Context(), "stream", "f", values[:1], 1000), kv.ErrClosed)
}
