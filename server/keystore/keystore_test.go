package keystore_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv/redistest"
)

func TestDirectory(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		dir := filepath.Join(t.TempDir(), "made", "keys")
		return func(t testing.TB) keystore.Store { return openDirectory(t, dir) }
	})
}

func TestMemory(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) func(testing.TB) keystore.Store {
		s := keystoretest.NewMemory()
		return func(testing.TB) keystore.Store { return s }
	})
}

func openDirectory(t testing.TB, dir string) *keystore.Directory {
	s, err := keystore.OpenDirectory(dir)
	require.NoError(t, err)
	return s
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		require.NoError(t, client.FlushAll(t.Context()).Err())
		return func(testing.TB) keystore.Store { return keystore.NewRedis(client) }
	})
	server.Stop()
	_, err := keystore.NewRedis(client).Get(t.Context(), keystore.Keysets, "x")
	require.ErrorIs(t, err, keystore.ErrUnavailable)
}

func TestRedisCluster(t *testing.T) {
	client := redistest.StartCluster(t, 3)
	s := keystore.NewRedis(client)
	begin := keystoretest.Current(t, s)
	for _, name := range []string{"a", "b", "c"} {
		swapped, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte(name), 1)
		require.NoError(t, err)
		require.True(t, swapped)
	}
	documents, _, err := s.Page(t.Context(), keystore.Keysets, "", 10)
	require.NoError(t, err)
	require.Len(t, documents, 3)
	changes, _ := keystoretest.Changed(t, s, begin)
	require.Len(t, changes, 3)
	names, err := s.Due(t.Context(), keystore.Keysets, 1, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, names)
}

// A reader that falls behind by more than one page of the stream sees all changes.
func TestRedisManyChanges(t *testing.T) {
	s := keystore.NewRedis(redistest.Start(t).Client(t))
	begin := keystoretest.Current(t, s)
	for i := range 2100 {
		_, err := s.Swap(t.Context(), keystore.Keysets, fmt.Sprint(i), nil, []byte("document"), 0)
		require.NoError(t, err)
	}
	found, _ := keystoretest.Changed(t, s, begin)
	require.Len(t, found, 2100)
	require.Equal(t, "2099", found[2099].Name)
}

// A faulty store behaves like the store once all writes have arrived.
func TestFaulty(t *testing.T) {
	for _, fault := range keystoretest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			s := keystoretest.Faulty(openDirectory(t, t.TempDir()), keystoretest.At(1, fault))
			s.Pause = 0
			swapped, err := s.Swap(t.Context(), keystore.Keysets, "x", nil, []byte("one"), 0)
			fails := fault == keystoretest.FailBefore || fault == keystoretest.LoseReply || fault == keystoretest.Reorder
			require.Equal(t, fails, err != nil)
			require.Equal(t, !fails, swapped)
			there := func() bool {
				content, err := s.Get(t.Context(), keystore.Keysets, "x")
				require.NoError(t, err)
				return content != nil
			}
			require.Equal(t, fault != keystoretest.FailBefore && fault != keystoretest.Reorder, there())
			_, err = s.Swap(t.Context(), keystore.Keysets, "y", nil, []byte("two"), 0)
			require.NoError(t, err)
			require.Equal(t, fault != keystoretest.FailBefore, there())
			require.Equal(t, 2, s.Writes())
		})
	}
}

// losing is a hook of a client that carries out a script and loses its reply.
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

// If the reply to a Swap is lost, the driver reads back whether it was applied.
func TestRedisReadsBack(t *testing.T) {
	client := redistest.Start(t).Client(t)
	lose := &losing{}
	client.AddHook(lose)
	s := keystore.NewRedis(client)
	var old []byte
	for _, document := range [][]byte{[]byte("one"), []byte("two"), nil} {
		lose.left.Store(1)
		swapped, err := s.Swap(t.Context(), keystore.Keysets, "x", old, document, 0)
		require.NoError(t, err)
		require.True(t, swapped)
		old = document
	}
	lose.left.Store(1)
	_, err := s.Swap(t.Context(), keystore.Keysets, "x", []byte("else"), []byte("one"), 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// A feed that was trimmed beyond a reader's position, that went back, or that was emptied is lost.
func TestRedisFeedLost(t *testing.T) {
	client := redistest.Start(t).Client(t)
	s := keystore.NewRedis(client)
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
			position := keystoretest.Current(t, s)
			lose()
			_, _, err := s.Changes(t.Context(), position)
			require.ErrorIs(t, err, keystore.ErrFeedLost)
			position = keystoretest.Current(t, s)
			put("after " + name)
			changes, _ := keystoretest.Changed(t, s, position)
			require.Len(t, changes, 1)
		})
	}
}

// Only the owner can read the directory, and damage is reported with the file's name.
func TestDirectoryAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s := openDirectory(t, dir)
	for _, name := range []string{"x", "y"} {
		_, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte("document"), 1)
		require.NoError(t, err)
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, _ error) error {
		info, err := entry.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
	path := s.Where(keystore.Keysets, "x")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	another, err := os.ReadFile(s.Where(keystore.Keysets, "y"))
	require.NoError(t, err)
	damaged := map[string][]byte{"empty": {}, "cut": whole[:len(whole)-1], "longer": append(whole[:len(whole):len(whole)], 0), "of another document": another}
	for i := range whole {
		altered := append([]byte{}, whole...)
		altered[i] ^= 1
		damaged["altered "+string(rune('a'+i))] = altered
	}
	for name, content := range damaged {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, content, 0o600))
			_, err = s.Get(t.Context(), keystore.Keysets, "x")
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			require.ErrorContains(t, err, path)
			_, err = s.Swap(t.Context(), keystore.Keysets, "x", nil, []byte("new"), 0)
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			names, err := s.Due(t.Context(), keystore.Keysets, 1, 10)
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"x", "y"}, names, "a damaged document is due, so that somebody reports it")
			readable, damaged := 0, 0
			for document, err := range keystore.All(t.Context(), s, keystore.Keysets) {
				if err == nil {
					require.Equal(t, "y", document.Name)
					readable++
					continue
				}
				require.ErrorContains(t, err, path)
				damaged++
			}
			require.Equal(t, []int{1, 1}, []int{readable, damaged}, "it does not hide others")
		})
	}
}

// A page reads its own documents only; a damaged one beside them does not matter.
func TestPageReadsNoMore(t *testing.T) {
	s := openDirectory(t, t.TempDir())
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		_, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte(name), 0)
		require.NoError(t, err)
	}
	first, next, err := s.Page(t.Context(), keystore.Keysets, "", 3)
	require.NoError(t, err)
	require.Len(t, first, 3)
	second, _, err := s.Page(t.Context(), keystore.Keysets, next, 3)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.Where(keystore.Keysets, first[2].Name), nil, 0o600))
	again, _, err := s.Page(t.Context(), keystore.Keysets, next, 3)
	require.NoError(t, err)
	require.Equal(t, second, again)
}
