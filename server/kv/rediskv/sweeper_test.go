package rediskv_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

func TestSweeperConformance(t *testing.T) {
	t.Parallel()
	t.Run("single", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		kvtest.RunSweeper(t, func(t *testing.T) kv.Store {
			require.NoError(t, server.Client(t).FlushAll(context.Background()).Err())
			return open(t, server.URL())
		})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		client := redistest.StartCluster(t, 3)
		kvtest.RunSweeper(t, func(t *testing.T) kv.Store {
			require.NoError(t, client.ForEachMaster(context.Background(), func(ctx context.Context, c *redis.Client) error {
				return c.FlushAll(ctx).Err()
			}))
			return rediskv.New(client)
		})
	})
	t.Run("ring", func(t *testing.T) {
		t.Parallel()
		one, two := redistest.Start(t), redistest.Start(t)
		ring := redis.NewRing(&redis.RingOptions{
			Addrs: map[string]string{"one": one.Addr, "two": two.Addr}, ReadTimeout: redistest.ClientTimeout, WriteTimeout: redistest.ClientTimeout,
		})
		t.Cleanup(func() { _ = ring.Close() })
		kvtest.RunSweeper(t, func(t *testing.T) kv.Store {
			require.NoError(t, ring.ForEachShard(context.Background(), func(ctx context.Context, c *redis.Client) error {
				return c.FlushAll(ctx).Err()
			}))
			return rediskv.New(ring)
		})
	})
}

func stableTopology(t *testing.T, s *rediskv.Store) kv.Topology {
	t.Helper()
	top, err := s.Topology(t.Context())
	require.NoError(t, err)
	require.True(t, top.Stable, top.Reason)
	return top
}

// begun fills a store and returns a part and a cursor from the middle of a sweep of it.
func begun(t *testing.T, s *rediskv.Store, top kv.Topology, part string) (cursor string) {
	t.Helper()
	require.Contains(t, top.Parts, part)
	entries := make([]kv.Entry, scanned)
	for i := range entries {
		entries[i].Key = fmt.Sprint("key ", i)
	}
	require.NoError(t, kv.SetMany(t.Context(), s, entries))
	_, cursor, err := s.SweepPage(t.Context(), part, "", "", 100)
	require.NoError(t, err)
	require.NotEmpty(t, cursor)
	return cursor
}

func TestRestartChangesTopology(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, server.URL())
	before := stableTopology(t, s)
	cursor := begun(t, s, before, before.Parts[0])
	server.Restart()
	require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, time.Minute, 20*time.Millisecond)
	require.NotEqual(t, before.ID, stableTopology(t, s).ID)
	_, _, err := s.SweepPage(t.Context(), before.Parts[0], "", cursor, 100)
	require.ErrorIs(t, err, kv.ErrCursor)
}

func TestFailoverChangesTopology(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	service := redistest.NewFailoverAddress(t, master)
	s := rediskv.New(service.Client())
	before := stableTopology(t, s)
	cursor := begun(t, s, before, before.Parts[0])
	require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
	service.FailOver(replica)
	require.NotEqual(t, before.ID, stableTopology(t, s).ID)
	_, _, err := s.SweepPage(t.Context(), before.Parts[0], "", cursor, 100)
	require.ErrorIs(t, err, kv.ErrCursor)
}

func TestTopologyRefusesReplica(t *testing.T) {
	t.Parallel()
	replica := redistest.StartReplica(t, redistest.Start(t))
	_, err := open(t, "redis://"+replica.Addr).Topology(t.Context())
	require.ErrorIs(t, err, kv.ErrUnavailable)
}

// Without INFO, a restart cannot be detected. No sweep counts as complete, but keys can be listed.
func TestTopologyWithoutInfoIsUnstable(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	require.NoError(t, server.Client(t).Do(t.Context(), "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@dangerous").Err())
	s := open(t, "redis://app:pw@"+server.Addr)
	top, err := s.Topology(t.Context())
	require.NoError(t, err)
	require.False(t, top.Stable)
	require.Contains(t, top.Reason, "+info")
	cursor := begun(t, s, top, top.Parts[0])
	_, _, err = s.SweepPage(t.Context(), top.Parts[0], "", cursor, 100)
	require.NoError(t, err)
}

func TestTopologyFollowsSlotsOfCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.NewCluster(t, 3)
	s := rediskv.New(cluster.Client)
	replica := cluster.AddReplica(cluster.Nodes[0]) // adding the first replica changes the replication id of a master
	first := stableTopology(t, s)
	require.Len(t, first.Parts, 3, "a replica is not a part")

	from, to := cluster.Nodes[1], cluster.Nodes[2]
	cursor := begun(t, s, first, from.ID)
	slot := int(cluster.Client.ClusterKeySlot(t.Context(), "key 1").Val())
	for _, node := range cluster.Nodes[:3] {
		if info := node.Client.ClusterCountKeysInSlot(t.Context(), slot).Val(); info > 0 {
			from = node
		}
	}
	if from == to {
		to = cluster.Nodes[1]
	}
	cluster.BeginMigration(slot, from, to)
	top, err := s.Topology(t.Context())
	require.NoError(t, err)
	require.False(t, top.Stable)
	require.Contains(t, top.Reason, "migrating")
	_, _, err = s.SweepPage(t.Context(), cluster.Nodes[1].ID, "", cursor, 100)
	require.NoError(t, err, "a migration does not end a sweep, but makes it incomplete")

	cluster.EndMigration(slot, from, to)
	moved := stableTopology(t, s)
	require.NotEqual(t, first.ID, moved.ID)
	require.Equal(t, first.Parts, moved.Parts)
	cluster.BeginMigration(slot, to, from)
	cluster.EndMigration(slot, to, from)
	require.NotEqual(t, first.ID, stableTopology(t, s).ID, "a sweep that began before may have missed the keys that moved back")
	cluster.BeginMigration(slot, from, to)
	cluster.EndMigration(slot, from, to)
	moved = stableTopology(t, s)

	master := cluster.Nodes[0]
	cursor = begun(t, s, moved, master.ID)
	cluster.FailOver(replica)
	require.Eventually(t, func() bool {
		top, err = s.Topology(t.Context())
		return err == nil && top.Stable
	}, time.Minute, 20*time.Millisecond, "the client hears about the failover")
	require.NotEqual(t, moved.ID, top.ID)
	require.Contains(t, top.Parts, replica.ID)
	require.NotContains(t, top.Parts, master.ID)
	_, _, err = s.SweepPage(t.Context(), master.ID, "", cursor, 100)
	require.ErrorIs(t, err, kv.ErrCursor)
}

// A master that cannot be asked causes an error, never a topology that lacks a part.
func TestTopologyFailsWithoutMaster(t *testing.T) {
	t.Parallel()
	cluster := redistest.NewCluster(t, 3)
	s := rediskv.New(cluster.Client)
	stableTopology(t, s)
	cluster.Nodes[1].Stop()
	for range 5 {
		top, err := s.Topology(t.Context())
		if err == nil {
			require.False(t, top.Stable)
			require.NotEmpty(t, top.Reason)
		}
	}
}
