package rediskv_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// A Redis evicts entries if it has both a memory limit and an evicting policy. Eviction reports that even if the user
// must not use CONFIG.
func TestEvictionReportsPolicyAndCounts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	require.NoError(t, client.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-config").Err())
	s := open(t, "redis://app:pw@"+server.Addr)
	for _, one := range []struct{ limit, policy, want string }{
		{"0", "allkeys-lru", ""}, {"1gb", "noeviction", ""}, {"1gb", "allkeys-lru", "allkeys-lru"}, {"1gb", "volatile-ttl", "volatile-ttl"},
	} {
		require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", one.limit).Err())
		require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", one.policy).Err())
		found, err := s.Eviction(t.Context())
		require.NoError(t, err)
		require.Equal(t, one.want, found.Policy)
		require.True(t, found.Known)
		require.Len(t, found.Processes, 1)
		require.Len(t, found.Processes[server.Addr].ID, 40)
		require.Zero(t, found.Processes[server.Addr].Evicted)
	}
	require.NoError(t, client.Do(t.Context(), "ACL", "SETUSER", "app", "-info").Err())
	_, err := s.Eviction(t.Context())
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.NoError(t, s.Close())
	_, err = s.Eviction(t.Context())
	require.ErrorIs(t, err, kv.ErrClosed)
}

// Eviction asks every master of a cluster.
func TestEvictionAsksEveryMasterOfCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.NewCluster(t, 3)
	s := rediskv.New(cluster.Client)
	last := cluster.Nodes[2].Client
	require.NoError(t, last.ConfigSet(t.Context(), "maxmemory", "1gb").Err())
	require.NoError(t, last.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	found, err := s.Eviction(t.Context())
	require.NoError(t, err)
	require.Equal(t, "allkeys-lru", found.Policy)
	require.Len(t, found.Processes, 3)
}

// Eviction does not ask a server that became a replica if the new master has its address, because the replica's
// statistics would be attributed to the master.
func TestEvictionDoesNotAskReplica(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	service := redistest.NewFailoverAddress(t, master)
	s := rediskv.New(service.Client())
	id := func() string {
		found, err := s.Eviction(t.Context())
		require.NoError(t, err)
		require.Len(t, found.Processes, 1)
		for _, one := range found.Processes {
			return one.ID
		}
		return ""
	}
	before := id()
	service.Switch(replica)
	require.NotEqual(t, before, id())
	require.Equal(t, id(), id())
}
