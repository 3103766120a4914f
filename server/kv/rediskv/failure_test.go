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

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
)

func TestStoppedServerIsUnavailableUntilRestart(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	s := open(t, "redis://"+server.Addr)
	require.NoError(t, kv.Set(ctx, s, "k", []byte("v"), 0))
	server.Stop()

	began := time.Now()
	for name, call := range map[string]func() error{
		"get":      func() error { _, _, err := kv.Get(ctx, s, "k"); return err },
		"set":      func() error { return kv.Set(ctx, s, "k", []byte("v"), 0) },
		"many":     func() error { _, err := kv.GetMany(ctx, s, []string{"a", "b"}); return err },
		"set many": func() error { return kv.SetMany(ctx, s, []kv.Entry{{Key: "a"}, {Key: "b"}}) },
		"delete":   func() error { _, err := kv.DeleteMany(ctx, s, []string{"a", "b"}); return err },
		"scan":     func() error { _, _, err := s.Scan(ctx, "", "", 0); return err },
		"swap":     func() error { _, err := kv.CompareAndSwap(ctx, s, "k", nil, nil); return err },
		"ping":     func() error { return s.Ping(ctx) },
	} {
		err := call()
		require.ErrorIs(t, err, kv.ErrUnavailable, name)
		require.ErrorContains(t, err, "connection refused", name)
	}
	require.Less(t, time.Since(began), time.Minute, "the call must not wait")

	server.Restart()
	require.Eventually(t, func() bool { return s.Ping(ctx) == nil }, time.Minute, 10*time.Millisecond) // the client's pool returns the same failure for a while
	_, ok, err := kv.Get(ctx, s, "k")
	require.NoError(t, err)
	require.False(t, ok, "an empty server")
	require.NoError(t, kv.Set(ctx, s, "k", []byte("v"), 0))
}

func TestFrozenServerIsUnavailableAtDeadline(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, "redis://"+server.Addr+"?read_timeout=10m")
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, err := kv.Get(ctx, s, "k")
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), time.Minute, "the client alone would retry for longer")
	server.Thaw()
	require.NoError(t, s.Ping(t.Context()))
}

func TestFrozenServerIsUnavailableAtReadTimeout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, "redis://"+server.Addr+"?read_timeout=200ms")
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	require.ErrorIs(t, kv.Set(t.Context(), s, "k", nil, 0), kv.ErrUnavailable)
	server.Thaw()
	require.NoError(t, s.Ping(t.Context()))
}

func TestLoginErrorsHidePassword(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	server.SetPassword("right-secret")
	for url, sentence := range map[string]string{
		"redis://:wrong-secret@":     "refused the user name or the password",
		"redis://user:wrong-secret@": "refused the user name or the password",
		"redis://":                   "demands a password",
	} {
		s := open(t, url+server.Addr)
		for _, err := range []error{s.Ping(ctx), kv.Set(ctx, s, "k", []byte("v"), 0)} {
			require.ErrorIs(t, err, kv.ErrUnavailable)
			require.ErrorContains(t, err, sentence)
			require.NotContains(t, err.Error(), "secret")
		}
	}
	require.NoError(t, open(t, "redis://:right-secret@"+server.Addr).Ping(ctx))
}

func TestPasswordForServerWithoutOne(t *testing.T) {
	t.Parallel()
	s := open(t, "redis://:needless@"+redistest.Start(t).Addr)
	if err := s.Ping(t.Context()); err != nil { // go-redis may connect although Redis refused the login
		require.NotContains(t, err.Error(), "needless")
	}
}

// A Redis at its memory limit is full, not unavailable: a retry does not help, and reads still work.
func TestServerAtMemoryLimitIsFull(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
	s := open(t, "redis://"+server.Addr)
	value := bytes.Repeat([]byte("secret"), 1<<15)
	require.NoError(t, kv.Set(ctx, s, "first", []byte("old"), 0))
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = kv.Set(ctx, s, fmt.Sprint(i), value, 0)
	}
	require.NoError(t, server.Client(t).ConfigSet(ctx, "maxmemory", "1mb").Err()) // so low that memory which the server frees otherwise does not suffice
	_, swapErr := kv.CompareAndSwap(ctx, s, "first", []byte("old"), []byte("secret"))
	for _, err := range []error{err, kv.SetMany(ctx, s, []kv.Entry{{Key: "k", Value: value}}), swapErr} {
		require.ErrorIs(t, err, kv.ErrFull)
		require.NotErrorIs(t, err, kv.ErrUnavailable)
		require.ErrorContains(t, err, "maxmemory")
		require.NotContains(t, err.Error(), "secret")
	}
	got, ok, err := kv.Get(ctx, s, "first")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "old", string(got), "the earlier value stays")
}

func TestReadOnlyReplicaIsUnavailable(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	require.NoError(t, server.Client(t).ReplicaOf(ctx, "127.0.0.1", "1").Err())
	s := open(t, "redis://"+server.Addr)
	err := kv.Set(ctx, s, "k", nil, 0)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorContains(t, err, "read-only replica")
}

func TestKeyOfAnotherTypeIsError(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	s := open(t, "redis://"+server.Addr)
	require.NoError(t, server.Client(t).LPush(ctx, "list", "secret").Err())
	_, _, getErr := kv.Get(ctx, s, "list")
	_, manyErr := kv.GetMany(ctx, s, []string{"none", "list"})
	_, swapErr := kv.CompareAndSwap(ctx, s, "list", nil, nil)
	for _, err := range []error{getErr, manyErr, swapErr} {
		require.ErrorIs(t, err, kv.ErrWrongType)
		require.NotErrorIs(t, err, kv.ErrUnavailable)
		require.ErrorContains(t, err, "another Redis type")
	}
	require.NoError(t, kv.Set(ctx, s, "list", []byte("v"), 0))
}

// Redis quotes the arguments of a command that it does not know, values included.
func TestErrorOfRefusedCommandHidesValue(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--rename-command", "SET", "")
	err := kv.Set(t.Context(), open(t, "redis://"+server.Addr), "k", []byte("secret"), 0)
	require.ErrorContains(t, err, "unknown command")
	require.NotContains(t, err.Error(), "secret")
}

// go-redis quotes a reply that it cannot parse in its error.
func TestErrorOfMalformedReplyHidesValue(t *testing.T) {
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
	_, _, err = kv.Get(t.Context(), open(t, "redis://"+l.Addr().String()), "k")
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.NotContains(t, err.Error(), "secret")
}

// The error explains that a plain client reached a node of a cluster.
func TestErrorNamesClusterForPlainClient(t *testing.T) {
	t.Parallel()
	ctx, cluster := t.Context(), redistest.StartCluster(t, 3)

	shards, err := cluster.ClusterShards(ctx).Result()
	require.NoError(t, err)
	node := shards[0].Nodes[0]
	s := open(t, fmt.Sprintf("redis://%s:%d", node.IP, node.Port))
	var errs []string
	for i := range 64 {
		if err := kv.Set(ctx, s, fmt.Sprint(i), nil, 0); err != nil {
			require.ErrorIs(t, err, kv.ErrUnavailable)
			errs = append(errs, err.Error())
		}
	}
	require.NotEmpty(t, errs)
	require.True(t, strings.Contains(errs[0], "use a cluster client"), errs[0])
}
