package rediskeys_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
)

func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		require.NoError(t, client.FlushAll(t.Context()).Err())
		return func(testing.TB) keystore.Store { return rediskeys.New(client) }
	})
	server.Stop()
	_, err := rediskeys.New(client).Get(t.Context(), keystore.Keysets, "x")
	require.ErrorIs(t, err, keystore.ErrUnavailable)
}

func TestConformanceOfACluster(t *testing.T) {
	client := redistest.StartCluster(t, 3)
	s := rediskeys.New(client)
	begin := keystoretest.CurrentPosition(t, s)
	for _, name := range []string{"a", "b", "c"} {
		swapped, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte(name), 1)
		require.NoError(t, err)
		require.True(t, swapped)
	}
	documents, _, err := s.Page(t.Context(), keystore.Keysets, "", 10)
	require.NoError(t, err)
	require.Len(t, documents, 3)
	changes, _ := keystoretest.ReadChanges(t, s, begin)
	require.Len(t, changes, 3)
	names, err := s.Due(t.Context(), keystore.Keysets, 1, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, names)
}

// A reader that is behind by more than one page of the stream sees all changes.
func TestReaderFarBehindSeesAllChanges(t *testing.T) {
	s := rediskeys.New(redistest.Start(t).Client(t))
	begin := keystoretest.CurrentPosition(t, s)
	for i := range 2100 {
		_, err := s.Swap(t.Context(), keystore.Keysets, fmt.Sprint(i), nil, []byte("document"), 0)
		require.NoError(t, err)
	}
	found, _ := keystoretest.ReadChanges(t, s, begin)
	require.Len(t, found, 2100)
	require.Equal(t, "2099", found[2099].Name)
}

// losing is a hook of a client that executes a script and loses its reply.
type losing struct{ left atomic.Int64 }

func (l *losing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *losing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *losing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && cmd.Name() == "evalsha" && l.left.Add(-1) >= 0 {
			err = context.DeadlineExceeded
			cmd.SetErr(err)
		}
		return err
	}
}

// If the reply of a Swap is lost, reading back shows whether it was applied.
func TestReplaceReadsBackAfterALostReply(t *testing.T) {
	client := redistest.Start(t).Client(t)
	lose := &losing{}
	client.AddHook(lose)
	s := rediskeys.New(client)
	var old []byte
	for _, document := range [][]byte{[]byte("one"), []byte("two"), nil} {
		lose.left.Store(1)
		swapped, err := keystore.Replace(t.Context(), s, keystore.Keysets, "x", old, document, 0)
		require.NoError(t, err)
		require.True(t, swapped)
		old = document
	}
	lose.left.Store(1)
	_, err := keystore.Replace(t.Context(), s, keystore.Keysets, "x", []byte("else"), []byte("one"), 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// A feed that was trimmed beyond a reader's position, that returned to an earlier state, or that was emptied is lost.
func TestChangesReportsALostFeed(t *testing.T) {
	client := redistest.Start(t).Client(t)
	s := rediskeys.New(client)
	put := func(name string) {
		t.Helper()
		_, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte(name), 0)
		require.NoError(t, err)
	}
	const feed = "{coffer-keys}/feed"
	lost := map[string]func(){
		"trimmed":  func() { put("a"); put("b"); require.NoError(t, client.XTrimMaxLen(t.Context(), feed, 1).Err()) },
		"emptied":  func() { require.NoError(t, client.FlushAll(t.Context()).Err()) },
		"replaced": func() { require.NoError(t, client.FlushAll(t.Context()).Err()); put("c") },
		"went back": func() {
			last := client.XRevRangeN(t.Context(), feed, "+", "-", 1).Val()[0].ID
			require.NoError(t, client.XDel(t.Context(), feed, last).Err())
			put("d")
		},
		"another history": func() {
			last := client.XRevRangeN(t.Context(), feed, "+", "-", 1).Val()[0].ID
			require.NoError(t, client.Del(t.Context(), feed).Err())
			require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: feed, ID: last, Values: []string{"id", "other", "kind", "keyset", "name", "x"}}).Err())
		},
	}
	for name, lose := range lost {
		t.Run(name, func(t *testing.T) {
			put("before " + name)
			position := keystoretest.CurrentPosition(t, s)
			lose()
			_, _, err := s.Changes(t.Context(), position)
			require.ErrorIs(t, err, keystore.ErrFeedLost)
			position = keystoretest.CurrentPosition(t, s)
			put("after " + name)
			changes, _ := keystoretest.ReadChanges(t, s, position)
			require.Len(t, changes, 1)
		})
	}
}

// commands counts the commands of a client, except those in pipelines.
type commands struct{ n int }

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n++
		return next(ctx, cmd)
	}
}

// Reading a page, the changes and the due documents takes the same number of commands for any number of idle
// documents.
func TestCostIsIndependentOfIdleDocuments(t *testing.T) {
	client := redistest.Start(t).Client(t)
	s, count := rediskeys.New(client), &commands{}
	_, err := s.Swap(t.Context(), keystore.Keysets, "due", nil, []byte("document"), 1000)
	require.NoError(t, err)
	_, _, err = s.Page(t.Context(), keystore.Keysets, "", 10) // pipelines have connections of their own
	require.NoError(t, err)
	client.AddHook(count)
	for i := range 3000 {
		_, err := s.Swap(t.Context(), keystore.Keysets, fmt.Sprint(i), nil, []byte("document"), int64(90*24*3_600_000+i))
		require.NoError(t, err)
		if i%1000 != 999 {
			continue
		}
		since := keystoretest.CurrentPosition(t, s)
		count.n = 0
		documents, _, err := s.Page(t.Context(), keystore.Keysets, "", 10)
		require.NoError(t, err)
		require.Len(t, documents, 10)
		changes, _, err := s.Changes(t.Context(), since)
		require.NoError(t, err)
		require.Empty(t, changes)
		names, err := s.Due(t.Context(), keystore.Keysets, 1000, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"due"}, names)
		require.Equal(t, 3, count.n, "besides one pipeline")
	}
}

// A document that cannot be read does not affect others, and is not reported as missing.
func TestGetManyReportsUnreadableDocuments(t *testing.T) {
	client := redistest.Start(t).Client(t)
	s := rediskeys.New(client)
	_, err := s.Swap(t.Context(), keystore.Keysets, "a", nil, []byte("one"), 0)
	require.NoError(t, err)
	require.NoError(t, client.LPush(t.Context(), s.Location(keystore.Keysets, "b"), "two").Err())
	found := keystore.GetMany(t.Context(), s, keystore.Keysets, []string{"b", "a"})
	require.ErrorIs(t, found[0].Err, keystore.ErrUnavailable)
	require.Equal(t, keystore.Document{Name: "a", Content: []byte("one")}, found[1])
}

// A change that cannot be added to the feed or an index is not made. Otherwise Replace would report it as made, and
// other processes would continue with the former document.
func TestSwapRefusesKeysOfOtherTypes(t *testing.T) {
	client := redistest.Start(t).Client(t)
	s := rediskeys.New(client)
	for _, key := range []string{"feed", "names/keyset", "due/keyset"} {
		t.Run(key, func(t *testing.T) {
			require.NoError(t, client.FlushAll(t.Context()).Err())
			_, err := s.Swap(t.Context(), keystore.Keysets, "x", nil, []byte("one"), 1)
			require.NoError(t, err)
			require.NoError(t, client.Set(t.Context(), "{coffer-keys}/"+key, "text", 0).Err())
			for name, change := range map[string][2][]byte{"x": {[]byte("one"), []byte("two")}, "y": {nil, []byte("two")}} {
				replaced, err := keystore.Replace(t.Context(), s, keystore.Keysets, name, change[0], change[1], 2)
				require.ErrorIs(t, err, keystore.ErrUnavailable)
				require.False(t, replaced)
				content, err := s.Get(t.Context(), keystore.Keysets, name)
				require.NoError(t, err)
				require.Equal(t, change[0], content)
			}
		})
	}
}

// If a listed document is missing or of another type, the listing returns an error: otherwise a backup would lack the
// document.
func TestPageReportsMissingDocuments(t *testing.T) {
	client := redistest.Start(t).Client(t)
	s := rediskeys.New(client)
	for _, name := range []string{"", "a", "gone", "list"} {
		_, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte("one"), 1)
		require.NoError(t, err)
	}
	require.NoError(t, client.Del(t.Context(), s.Location(keystore.Keysets, "gone"), s.Location(keystore.Keysets, "list")).Err())
	require.NoError(t, client.LPush(t.Context(), s.Location(keystore.Keysets, "list"), "x").Err())
	found := map[string]bool{}
	for document, err := range keystore.All(t.Context(), s, keystore.Keysets) {
		found[document.Name] = err == nil
		if err != nil {
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			require.ErrorContains(t, err, document.Name)
		}
	}
	require.Equal(t, map[string]bool{"": true, "a": true, "gone": false, "list": false}, found)
}
