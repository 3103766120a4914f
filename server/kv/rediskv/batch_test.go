package rediskv_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// If some writes of a batch fail, each write has its own result.
func TestBatchReportsEachResult(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "some", "on", "nopass", "~good*", "+@all").Err())
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "some", Password: "any"})
	t.Cleanup(func() { _ = client.Close() })
	store := rediskv.New(client)
	failsInPart := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, kv.ErrUnavailable)
		each := kv.ErrorsOf(err, 3)
		require.Equal(t, []bool{false, true, false}, []bool{each[0] != nil, each[1] != nil, each[2] != nil})
	}
	failsInPart(kv.SetMany(t.Context(), store, []kv.Entry{{Key: "good1"}, {Key: "bad"}, {Key: "good2"}}))
	n, err := admin.Exists(t.Context(), "good1", "bad", "good2").Result()
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	existed, err := kv.DeleteMany(t.Context(), store, []string{"good1", "bad", "good2"})
	failsInPart(err)
	require.Equal(t, []bool{true, false, true}, existed)
}
