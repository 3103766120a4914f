package rediskv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

const scanned = 3000

// filled writes keys to a store and returns a cursor from the middle of a scan.
func filled(t *testing.T, s *rediskv.Store) (cursor string) {
	t.Helper()
	entries := make([]kv.Entry, scanned)
	for i := range entries {
		entries[i].Key = fmt.Sprint("key ", i)
	}
	require.NoError(t, kv.SetMany(t.Context(), s, entries))
	for range 5 {
		var err error
		_, cursor, err = s.Scan(t.Context(), "key ", cursor, 100)
		require.NoError(t, err)
		require.NotEmpty(t, cursor)
	}
	return cursor
}

func whole(t *testing.T, s *rediskv.Store) {
	t.Helper()
	var all []string
	for cursor := ""; ; {
		keys, next, err := s.Scan(t.Context(), "key ", cursor, 100)
		require.NoError(t, err)
		if all, cursor = append(all, keys...), next; cursor == "" {
			break
		}
	}
	slices.Sort(all)
	require.Len(t, slices.Compact(all), scanned)
}

// A scan does not continue at another server, which has its keys in another order: neither if a replica took over or
// the server restarted at the same address, nor if Sentinel names another master.
func TestScanStopsWhenServerChanges(t *testing.T) {
	t.Parallel()
	t.Run("failover", func(t *testing.T) {
		t.Parallel()
		master := redistest.Start(t)
		replica := redistest.StartReplica(t, master)
		service := redistest.NewFailoverAddress(t, master)
		s := rediskv.New(service.Client())
		cursor := filled(t, s)
		require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
		service.FailOver(replica)
		_, _, err := s.Scan(t.Context(), "key ", cursor, 100)
		require.ErrorIs(t, err, kv.ErrCursor)
		require.ErrorContains(t, err, "begin the scan again")
		whole(t, s)
	})
	t.Run("switch", func(t *testing.T) {
		t.Parallel()
		master := redistest.Start(t)
		replica := redistest.StartReplica(t, master)
		service := redistest.NewFailoverAddress(t, master)
		s := rediskv.New(service.Client())
		cursor := filled(t, s)
		var scans sync.WaitGroup
		for range 8 { // several connections, which then lead to the replica
			scans.Go(func() { whole(t, s) })
		}
		scans.Wait()
		require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
		service.Switch(replica)
		_, _, err := s.Scan(t.Context(), "key ", cursor, 100)
		require.ErrorIs(t, err, kv.ErrCursor)
		whole(t, s)
		stableTopology(t, s)
	})
	t.Run("restart", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		s := open(t, server.URL())
		cursor := filled(t, s)
		server.Restart()
		require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, time.Minute, 20*time.Millisecond)
		_, _, err := s.Scan(t.Context(), "key ", cursor, 100)
		require.ErrorIs(t, err, kv.ErrCursor)
		whole(t, s)
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		master := redistest.Start(t)
		redistest.StartReplica(t, master)
		addr := redistest.StartSentinel(t, master, "coffer")
		s := rediskv.OpenOptions(redis.UniversalOptions{Addrs: []string{addr}, MasterName: "coffer"})
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		cursor := filled(t, s)
		require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
		sentinel := redis.NewSentinelClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = sentinel.Close() })
		require.Eventually(t, func() bool { return sentinel.Failover(t.Context(), "coffer").Err() == nil }, time.Minute, 100*time.Millisecond, "Sentinel must learn of the replica first")
		client := master.Client(t)
		require.Eventually(t, func() bool { return strings.Contains(client.Info(t.Context(), "replication").Val(), "role:slave") }, time.Minute, 20*time.Millisecond)
		require.Eventually(t, func() bool { // until the client has learned of the new master
			_, _, err := s.Scan(t.Context(), "key ", cursor, 100)
			require.Error(t, err)
			return errors.Is(err, kv.ErrCursor)
		}, time.Minute, 20*time.Millisecond)
		whole(t, s)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		s := rediskv.New(redistest.StartCluster(t, 3))
		cursor := filled(t, s)
		require.NotContains(t, cursor, "127.0.0.1", "a cursor must not contain the address of Redis")
		parts := strings.Split(cursor, "@")
		for i, others := range map[int][]string{0: {"x"}, 1: {strings.Repeat("0", 16)}, 2: {strings.Repeat("0", 16)}, 3: {"1", "3", "-1", "x"}} {
			for _, other := range others {
				changed := slices.Clone(parts)
				changed[i] = other
				_, _, err := s.Scan(t.Context(), "key ", strings.Join(changed, "@"), 100)
				require.ErrorIs(t, err, kv.ErrCursor, other)
			}
		}
		_, _, err := s.Scan(t.Context(), "key ", strings.Join(parts, "@"), 100)
		require.NoError(t, err)
	})
}

// If the user must not use INFO, a scan continues.
func TestScanContinuesWithoutInfo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	require.NoError(t, server.Client(t).Do(t.Context(), "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@dangerous").Err())
	s := open(t, "redis://app:pw@"+server.Addr)
	filled(t, s)
	whole(t, s)
}

// The keys of a replica may be out of date.
func TestScanRefusesReplica(t *testing.T) {
	t.Parallel()
	replica := redistest.StartReplica(t, redistest.Start(t))
	_, _, err := open(t, "redis://"+replica.Addr).Scan(t.Context(), "", "", 0)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorContains(t, err, "read-only replica")
}

// renamed is a connection to a Redis that does not know INFO, as if its configuration had renamed the command.
type renamed struct{ net.Conn }

func (r renamed) Write(p []byte) (int, error) {
	return r.Conn.Write(bytes.ReplaceAll(p, []byte("\r\ninfo\r\n"), []byte("\r\nINF0\r\n")))
}

// If Redis does not know INFO, a scan continues.
func TestScanContinuesIfInfoIsUnknown(t *testing.T) {
	t.Parallel()
	addr := redistest.Start(t).Addr
	client := redis.NewClient(&redis.Options{Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		return renamed{conn}, err
	}})
	t.Cleanup(func() { _ = client.Close() })
	require.ErrorContains(t, client.Info(t.Context()).Err(), "unknown command")
	s := rediskv.New(client)
	filled(t, s)
	whole(t, s)
}
