package rediskv_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/redistest"
)

func TestStoppedServerIsUnavailableAndComesBack(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	s := open(t, "redis://"+server.Addr)
	require.NoError(t, s.Set(ctx, "k", []byte("v"), 0))
	server.Stop()

	began := time.Now()
	for name, call := range map[string]func() error{
		"get":      func() error { _, _, err := s.Get(ctx, "k"); return err },
		"set":      func() error { return s.Set(ctx, "k", []byte("v"), 0) },
		"many":     func() error { _, err := s.GetMany(ctx, []string{"a", "b"}); return err },
		"set many": func() error { return s.SetMany(ctx, []kv.Entry{{Key: "a"}, {Key: "b"}}) },
		"delete":   func() error { _, err := s.DeleteMany(ctx, []string{"a", "b"}); return err },
		"scan":     func() error { _, _, err := s.Scan(ctx, "", "", 0); return err },
		"swap":     func() error { _, err := s.CompareAndSwap(ctx, "k", nil, nil); return err },
		"ping":     func() error { return s.Ping(ctx) },
	} {
		err := call()
		require.ErrorIs(t, err, kv.ErrUnavailable, name)
		require.ErrorContains(t, err, "connection refused", name)
	}
	require.Less(t, time.Since(began), time.Minute, "nothing is waited for")

	server.Restart()
	require.Eventually(t, func() bool { return s.Ping(ctx) == nil }, time.Minute, 10*time.Millisecond) // the client's pool gives a failure again for a while
	_, ok, err := s.Get(ctx, "k")
	require.NoError(t, err)
	require.False(t, ok, "an empty server")
	require.NoError(t, s.Set(ctx, "k", []byte("v"), 0))
}

func TestSilentServerIsUnavailableAtTheDeadline(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, "redis://"+server.Addr+"?read_timeout=10m")
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, err := s.Get(ctx, "k")
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), time.Minute, "the client alone would try for longer")
	server.Thaw()
	require.NoError(t, s.Ping(t.Context()))
}

func TestSilentServerIsUnavailableAtTheReadTimeout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, "redis://"+server.Addr+"?read_timeout=200ms")
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	require.ErrorIs(t, s.Set(t.Context(), "k", nil, 0), kv.ErrUnavailable)
	server.Thaw()
	require.NoError(t, s.Ping(t.Context()))
}

func TestLoginErrorsHideThePassword(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	server.SetPassword("right-secret")
	for url, sentence := range map[string]string{
		"redis://:wrong-secret@":     "refused the user name or the password",
		"redis://user:wrong-secret@": "refused the user name or the password",
		"redis://":                   "demands a password",
	} {
		s := open(t, url+server.Addr)
		for _, err := range []error{s.Ping(ctx), s.Set(ctx, "k", []byte("v"), 0)} {
			require.ErrorIs(t, err, kv.ErrUnavailable)
			require.ErrorContains(t, err, sentence)
			require.NotContains(t, err.Error(), "secret")
		}
	}
	require.NoError(t, open(t, "redis://:right-secret@"+server.Addr).Ping(ctx))
}

func TestPasswordWhereNoneIsSet(t *testing.T) {
	t.Parallel()
	s := open(t, "redis://:needless@"+redistest.Start(t).Addr)
	if err := s.Ping(t.Context()); err != nil { // Redis answers with an error, go-redis may go on without
		require.NotContains(t, err.Error(), "needless")
	}
}

func TestOutOfMemoryIsUnavailable(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
	s := open(t, "redis://"+server.Addr)
	value := bytes.Repeat([]byte("secret"), 1<<15)
	require.NoError(t, s.Set(ctx, "first", []byte("old"), 0))
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = s.Set(ctx, fmt.Sprint(i), value, 0)
	}
	require.NoError(t, server.Client(t).ConfigSet(ctx, "maxmemory", "1mb").Err()) // what else the server frees makes no room then
	_, swapErr := s.CompareAndSwap(ctx, "first", []byte("old"), []byte("secret"))
	for _, err := range []error{err, s.SetMany(ctx, []kv.Entry{{Key: "k", Value: value}}), swapErr} {
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.ErrorContains(t, err, "out of memory")
		require.NotContains(t, err.Error(), "secret")
	}
	got, ok, err := s.Get(ctx, "first")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "old", string(got), "the earlier value stays")
}

func TestReadOnlyReplicaIsUnavailable(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	require.NoError(t, server.Client(t).ReplicaOf(ctx, "127.0.0.1", "1").Err())
	s := open(t, "redis://"+server.Addr)
	err := s.Set(ctx, "k", nil, 0)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorContains(t, err, "read-only replica")
}

func TestKeyOfAnotherTypeIsAnError(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	s := open(t, "redis://"+server.Addr)
	require.NoError(t, server.Client(t).LPush(ctx, "list", "secret").Err())
	_, _, getErr := s.Get(ctx, "list")
	_, manyErr := s.GetMany(ctx, []string{"none", "list"})
	_, swapErr := s.CompareAndSwap(ctx, "list", nil, nil)
	for _, err := range []error{getErr, manyErr, swapErr} {
		require.ErrorIs(t, err, kv.ErrWrongType)
		require.NotErrorIs(t, err, kv.ErrUnavailable)
		require.ErrorContains(t, err, "another Redis type")
	}
	require.NoError(t, s.Set(ctx, "list", []byte("v"), 0))
}

// Redis quotes the arguments of a command that it does not know, values included.
func TestRefusedCommandDoesNotShowTheValue(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--rename-command", "SET", "")
	err := open(t, "redis://"+server.Addr).Set(t.Context(), "k", []byte("secret"), 0)
	require.ErrorContains(t, err, "unknown command")
	require.NotContains(t, err.Error(), "secret")
}

// A reply that go-redis cannot parse is quoted in its error.
func TestStrayReplyDoesNotShowTheValue(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 4096); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					_, _ = c.Write([]byte("secret\r\n"))
				}
			}()
		}
	}()
	_, _, err = open(t, "redis://"+l.Addr().String()).Get(t.Context(), "k")
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.NotContains(t, err.Error(), "secret")
}

// A plain client that talks to one node of a cluster is told so.
func TestPlainClientOfAClusterIsToldSo(t *testing.T) {
	t.Parallel()
	ctx, cluster := t.Context(), redistest.StartCluster(t, 3)

	shards, err := cluster.ClusterShards(ctx).Result()
	require.NoError(t, err)
	node := shards[0].Nodes[0]
	s := open(t, fmt.Sprintf("redis://%s:%d", node.IP, node.Port))
	var errs []string
	for i := range 64 {
		if err := s.Set(ctx, fmt.Sprint(i), nil, 0); err != nil {
			require.ErrorIs(t, err, kv.ErrUnavailable)
			errs = append(errs, err.Error())
		}
	}
	require.NotEmpty(t, errs)
	require.True(t, strings.Contains(errs[0], "use a cluster client"), errs[0])
}
