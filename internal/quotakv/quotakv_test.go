package quotakv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
)

func openRedis(t *testing.T, url string, options Options) *Store {
	t.Helper()
	inner, err := rediskv.Open(url)
	require.NoError(t, err)
	s, err := New(inner, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	for _, quota := range []int64{0, 1 << 40} {
		t.Run(fmt.Sprint(quota), func(t *testing.T) {
			kvtest.Run(t, func(t *testing.T) kv.Store {
				require.NoError(t, admin.FlushAll(context.Background()).Err())
				return openRedis(t, server.URL(), Options{Quota: quota})
			})
		})
	}
}

// refusals counts refusals by reason.
type refusals struct{ quota, full atomic.Int64 }

func (r *refusals) add(_ string, reason error) {
	if reason == kv.ErrQuota {
		r.quota.Add(1)
		return
	}
	r.full.Add(1)
}

// A quota in Redis counts the stored bytes, not the sent ones. It refuses no write that needs no more space.
func TestQuotaCountsStoredBytes(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	var refused refusals
	s := openRedis(t, server.URL(), Options{Quota: 10_000, OnRefused: refused.add})
	require.NoError(t, s.countOnce(ctx))
	mine, theirs, value := kv.Prefix("a", "cache"), kv.Prefix("b", "cache"), make([]byte, 4000)
	for range 20 {
		require.NoError(t, kv.Set(ctx, s, mine+"1", value, time.Hour), "overwriting needs no more space")
	}
	require.NoError(t, kv.Set(ctx, s, kv.Prefix("a", "session")+"2", value, time.Hour))
	err := kv.SetMany(ctx, s, []kv.Entry{{Key: mine + "3", Value: value}, {Key: theirs + "1", Value: value}, {Key: mine + "4", Value: []byte("small")}})
	each := kv.ErrorsOf(err, 3)
	require.ErrorIs(t, each[0], kv.ErrQuota)
	require.NoError(t, errors.Join(each[1:]...))
	require.ErrorIs(t, kv.Set(ctx, s, mine+"5", value, 0), kv.ErrQuota)
	require.Equal(t, int64(2), refused.quota.Load())

	require.NoError(t, kv.Set(ctx, s, mine+"1", value, 0), "a value of the same length is admitted")
	changed, err := kv.ExpireIf(ctx, s, mine+"1", value, time.Minute)
	require.NoError(t, err)
	require.True(t, changed)
	written, err := kv.SetIf(ctx, s, mine+"1", value, value[:3000], 0)
	require.NoError(t, err)
	require.True(t, written)
	before, err := s.Bytes(ctx)
	require.NoError(t, err)
	require.NoError(t, s.countOnce(ctx))
	after, err := s.Bytes(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after, "the scan must agree with the counted writes")
	existed, err := kv.Delete(ctx, s, mine+"1")
	require.NoError(t, err)
	require.True(t, existed)
	require.NoError(t, kv.Set(ctx, s, mine+"3", value, 0))
}

// A count notices expired entries and the writes of other servers. When a tenant reaches its quota, a count begins at
// once.
func TestCountCorrectsUsage(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	options := Options{Quota: 10_000}
	one, two := openRedis(t, server.URL(), options), openRedis(t, server.URL(), options)
	prefix, value := kv.Prefix("a", "cache"), make([]byte, 4000)
	require.NoError(t, one.countOnce(ctx))
	require.NoError(t, kv.SetMany(ctx, one, []kv.Entry{{Key: prefix + "1", Value: value, TTL: time.Millisecond}, {Key: prefix + "2", Value: value}}))
	require.Eventually(t, func() bool { _, ok, err := one.TTL(ctx, prefix+"1"); return err == nil && !ok }, time.Minute, time.Millisecond)
	require.ErrorIs(t, kv.Set(ctx, one, prefix+"3", value, 0), kv.ErrQuota, "the expired entry still counts")

	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		one.RunCounts(ctx, slog.New(slog.DiscardHandler))
	}()
	require.Eventually(t, func() bool { return kv.Set(ctx, one, prefix+"3", value, 0) == nil }, time.Minute, time.Millisecond)
	stop()
	<-ended
	require.NoError(t, two.countOnce(t.Context()))
	require.ErrorIs(t, kv.Set(t.Context(), two, prefix+"4", value, 0), kv.ErrQuota)
}

// A Redis at its memory limit is full, not unavailable.
func TestFullRedisIsReportedAsFull(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	var refused refusals
	s := openRedis(t, server.URL(), Options{OnRefused: refused.add})
	require.NoError(t, kv.Set(ctx, s, "k", []byte("v"), 0))
	require.NoError(t, server.Client(t).ConfigSet(ctx, "maxmemory", "1").Err())
	err := kv.Set(ctx, s, "k", []byte("other"), 0)
	require.ErrorIs(t, err, kv.ErrFull)
	require.NotErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, int64(1), refused.full.Load())
	existed, err := kv.Delete(ctx, s, "k")
	require.NoError(t, err)
	require.True(t, existed)
	_, err = s.Bytes(ctx)
	require.ErrorIs(t, err, errors.ErrUnsupported, "without a quota, bytes are not counted")
}

// The embedded store counts exactly. It is only wrapped to report refusals.
func TestEmbeddedStoreReportsRefusals(t *testing.T) {
	t.Parallel()
	inner, err := sqlitekv.Open(t.TempDir(), nil, sqlitekv.WithQuota(100))
	require.NoError(t, err)
	var refused refusals
	s, err := New(inner, Options{OnRefused: refused.add})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.ErrorIs(t, kv.Set(t.Context(), s, kv.Prefix("a", "cache")+"k", make([]byte, 100), 0), kv.ErrQuota)
	require.Equal(t, int64(1), refused.quota.Load())
	n, err := s.Bytes(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = New(inner, Options{Quota: 1})
	require.ErrorIs(t, err, ErrNoSizes)
}
