package sqlitekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/kv"
)

// bytesOf computes the expected usage of all owners.
func bytesOf(t *testing.T, s *Store) (n int64) {
	t.Helper()
	for cursor := ""; ; {
		keys, next, err := s.Scan(t.Context(), kv.TenantPrefix, cursor, 0)
		require.NoError(t, err)
		found, err := s.Read(t.Context(), keys, 0)
		require.NoError(t, err)
		for i, key := range keys {
			n += int64(len(key) + found[i].Size)
		}
		if cursor = next; cursor == "" {
			return n
		}
	}
}

func requireCounted(t *testing.T, s *Store) {
	t.Helper()
	n, err := s.Bytes(t.Context())
	require.NoError(t, err)
	require.Equal(t, bytesOf(t, s), n)
}

// The usage is exact after any writes, refused and conditional ones included, and after expiry.
func TestUsageIsExact(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s, err := Open(dir, nil, WithQuota(120_000))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	random, refused := rand.New(rand.NewPCG(3, 4)), 0
	values := map[string][]byte{}
	for range 2000 {
		key := kv.Prefix(fmt.Sprint("tenant/", random.IntN(3)), "cache") + fmt.Sprint(random.IntN(20))
		value := bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(1<<random.IntN(18)))
		switch random.IntN(5) {
		case 0:
			_, err = kv.Delete(ctx, s, key)
			delete(values, key)
		case 1:
			if _, err = kv.SetIf(ctx, s, key, values[key], value, 0); err == nil {
				values[key] = nil
			}
		case 2:
			_, err = kv.CompareAndSwap(ctx, s, key, values[key], value)
		default:
			if err = kv.Set(ctx, s, key, value, time.Duration(random.IntN(2))*time.Hour); err == nil {
				values[key] = value
			}
		}
		if errors.Is(err, kv.ErrQuota) {
			refused++
			continue
		}
		require.NoError(t, err)
	}
	require.Greater(t, refused, 20)
	requireCounted(t, s)
	require.NoError(t, s.Close())
	s, err = Open(dir, nil)
	require.NoError(t, err)
	requireCounted(t, s)

	keys, _, err := s.Scan(ctx, "", "", 0)
	require.NoError(t, err)
	for _, key := range keys {
		require.NoError(t, kv.Set(ctx, s, key, []byte("short-lived"), time.Millisecond))
	}
	require.Eventually(t, func() bool { n, err := s.Bytes(ctx); return err == nil && n == 0 }, time.Minute, time.Millisecond)
	rows, err := (<-s.writer).Int("SELECT count(*) FROM usage")
	require.NoError(t, err)
	require.Zero(t, rows, "an owner without entries has no row")
	s.writer <- s.conns[0]
}

// A tenant beyond its quota can read, delete and shorten entries. Other tenants are not affected.
func TestQuotaRefusesGrowth(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := Open(t.TempDir(), nil, WithQuota(10_000))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	mine, theirs := kv.Prefix("a", "cache"), kv.Prefix("b", "cache")
	value := make([]byte, 4000)
	require.NoError(t, kv.SetMany(ctx, s, []kv.Entry{{Key: mine + "1", Value: value}, {Key: kv.Prefix("a", "session") + "2", Value: value}}))

	err = kv.SetMany(ctx, s, []kv.Entry{{Key: mine + "3", Value: value}, {Key: theirs + "1", Value: value}, {Key: mine + "4", Value: []byte("small")}})
	require.ErrorIs(t, err, kv.ErrQuota)
	each := kv.ErrorsOf(err, 3)
	require.ErrorIs(t, each[0], kv.ErrQuota)
	require.NoError(t, errors.Join(each[1:]...), "each write has its own result")
	_, ok, err := kv.Get(ctx, s, mine+"3")
	require.NoError(t, err)
	require.False(t, ok)

	longer := append(make([]byte, 0, 6000), make([]byte, 6000)...)
	require.ErrorIs(t, kv.Set(ctx, s, mine+"1", longer, 0), kv.ErrQuota)
	got, _, err := kv.Get(ctx, s, mine+"1")
	require.NoError(t, err)
	require.Equal(t, value, got, "the earlier value stays")
	swapped, err := kv.CompareAndSwap(ctx, s, mine+"1", value, append([]byte("other"), value[5:]...))
	require.NoError(t, err)
	require.True(t, swapped)
	require.NoError(t, kv.Set(ctx, s, mine+"1", value[1:], time.Hour))
	changed, err := kv.ExpireIf(ctx, s, mine+"1", value[1:], time.Minute)
	require.NoError(t, err)
	require.True(t, changed)
	for range 4 {
		require.NoError(t, kv.Set(ctx, s, "without owner"+fmt.Sprint(len(value)), value, 0))
	}
	existed, err := kv.Delete(ctx, s, mine+"1")
	require.NoError(t, err)
	require.True(t, existed)
	require.NoError(t, kv.Set(ctx, s, mine+"3", value, 0))
	requireCounted(t, s)
}

func init() { roles["countsForever"] = countForever }

func countForever(t testing.TB) {
	s, err := Open(os.Args[1], nil)
	require.NoError(t, err)
	for i := 0; ; i++ {
		key := kv.Prefix(fmt.Sprint(i%3), "cache") + fmt.Sprint(i%50)
		require.NoError(t, kv.Set(context.Background(), s, key, make([]byte, i%5000*20), time.Hour))
		fmt.Println(i)
	}
}

// The usage is exact after a kill during a write.
func TestUsageIsExactAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := proctest.RoleCommand(t, "countsForever", dir)
	killAfter(t, child, 300, func() {})
	s := open(t, dir)
	require.Positive(t, bytesOf(t, s))
	requireCounted(t, s)
}
