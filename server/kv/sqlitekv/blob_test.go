package sqlitekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// If someone edits parts or discarded blobs in the database, Check reports it, other values can be written and read,
// and no acknowledged value is lost.
func TestEditedBlobsAreReported(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a blob beyond all":      "INSERT INTO discarded VALUES (9223372036854775807)",
		"a negative blob":        "INSERT INTO discarded VALUES (-1)",
		"a part beyond all":      "INSERT INTO parts VALUES (9223372036854775807, x'00')",
		"a negative part":        "INSERT INTO parts VALUES (-1, x'00')",
		"parts without an entry": "UPDATE parts SET id = id + (1 << 30)",
		"no parts":               "DELETE FROM parts",
		"an entry's blob":        "INSERT INTO discarded SELECT blob FROM entries",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, dir := t.Context(), t.TempDir()
			s := open(t, dir)
			a, b := bytes.Repeat([]byte("a"), 3*chunkSize), bytes.Repeat([]byte("b"), 3*chunkSize)
			require.NoError(t, kv.Set(ctx, s, "a", a, 0))
			c := <-s.writer
			require.NoError(t, c.Run(change))
			checked := c.checkBlobs()
			require.NoError(t, s.loadState(c)) // as at a start
			s.writer <- c
			if name != "no parts" { // a missing part is reported for its entry
				require.ErrorIs(t, checked, kv.ErrDamaged)
			}
			require.NoError(t, s.removeDiscarded(ctx))
			require.NoError(t, kv.Set(ctx, s, "b", b, 0))
			got, _, err := kv.Get(ctx, s, "a")
			if name == "an entry's blob" {
				require.NoError(t, err, "the entry must keep its blob")
			}
			require.True(t, errors.Is(err, kv.ErrDamaged) || bytes.Equal(a, got), "bytes of another value")
			_, err = kv.Delete(ctx, s, "a")
			require.True(t, err == nil || errors.Is(err, kv.ErrDamaged), err)
			got, ok, err := kv.Get(ctx, s, "b")
			require.NoError(t, err)
			require.True(t, ok && bytes.Equal(b, got))
		})
	}
}

// A call ends with its context while other calls write: before it has written anything, and while it removes the parts
// of a value.
func TestLargeWriteEndsWithContext(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	c := <-s.writer
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	require.ErrorIs(t, kv.Set(ctx, s, "k", make([]byte, 3*chunkSize), 0), context.Canceled)
	s.writer <- c
	requireParts(t, s)

	require.NoError(t, kv.Set(t.Context(), s, "k", make([]byte, 100*chunkSize), 0))
	blob := s.lastBlob.Load()
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.removeBlob(ctx, blob), context.Canceled)
}

// A turn after a long wait has more parts, within limits.
func TestPartsThisTurnGrowWithWait(t *testing.T) {
	t.Parallel()
	for waited, want := range map[time.Duration]int{0: minTurnParts, 10 * waitForPart: 10, time.Hour: maxTurnParts} {
		require.Equal(t, want, (&conn{waited: waited}).partsThisTurn())
	}
}

// Concurrent writes of large values do not exceed a quota together.
func TestConcurrentLargeWritesKeepQuota(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := Open(t.TempDir(), nil, WithQuota(30*chunkSize))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	var writers sync.WaitGroup
	for i := range 20 {
		writers.Go(func() {
			err := kv.Set(ctx, s, kv.Prefix("a", "cache")+fmt.Sprint(i), make([]byte, 20*chunkSize), 0)
			require.True(t, err == nil || errors.Is(err, kv.ErrQuota), err)
		})
	}
	most := int64(0)
	during(t, func() error { writers.Wait(); return nil }, func() {
		c := <-s.writer
		n, err := c.Int("SELECT count(*) FROM parts")
		s.writer <- c
		require.NoError(t, err)
		most = max(most, n)
	})
	require.LessOrEqual(t, most, int64(30))
	require.Zero(t, s.reservations.bytes())
	require.Empty(t, s.reservations.owners)
	require.NoError(t, kv.Set(ctx, s, kv.Prefix("b", "cache"), make([]byte, 20*chunkSize), 0))
	requireCounted(t, s)
}

// The log restarts although some reader always reads a large value.
func TestLogRestartsBesideReaders(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	large := make([]byte, 300*chunkSize)
	require.NoError(t, kv.Set(ctx, s, "large", large, 0))
	stop, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	for range cap(s.readers) {
		readers.Go(func() {
			for stop.Err() == nil {
				value, ok, err := kv.Get(ctx, s, "large")
				require.NoError(t, err)
				require.True(t, ok && len(value) == len(large))
			}
		})
	}
	const writes = 3 * maxLogPages * pageSize / chunkSize
	for n := range writes {
		require.NoError(t, kv.Set(ctx, s, fmt.Sprint(n%50), bytes.Repeat([]byte{byte(n), byte(n >> 8)}, chunkSize/2), 0))
	}
	cancel()
	readers.Wait()
	info, err := os.Stat(filepath.Join(dir, fileName+"-wal"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(2*maxLogPages*pageSize))
}

// Expired entries are removed even if many damaged ones come before them.
func TestExpiryContinuesBehindMuchDamage(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), open(t, t.TempDir())
	for i := range expiredBatch + 1 {
		require.NoError(t, kv.Set(ctx, s, fmt.Sprint(i), []byte("value"), time.Hour))
	}
	edit(t, s, "UPDATE entries SET size = 3, expires = 1")
	require.NoError(t, kv.Set(ctx, s, "last", []byte("value"), time.Millisecond))
	require.Eventually(t, func() bool {
		c := <-s.writer
		defer func() { s.writer <- c }()
		n, err := c.Int("SELECT count(*) FROM entries")
		return err == nil && n == expiredBatch+1
	}, time.Minute, time.Millisecond)
}

// After random writes, batches, conditions, canceled calls and expiry, each value is intact, counts are exact and no
// part is left.
func TestRandomHistoryKeepsInvariants(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), nil, WithQuota(60*chunkSize))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	var callers sync.WaitGroup
	for seed := range uint64(8) {
		callers.Go(func() {
			h := history{s, rand.New(rand.NewPCG(seed, 7))}
			for range 150 {
				require.NoError(t, h.step(t.Context()))
			}
		})
	}
	callers.Wait()
	require.Eventually(t, func() bool { // the last value may expire within a millisecond
		require.NoError(t, s.removeExpired(t.Context()))
		c := <-s.writer
		defer func() { s.writer <- c }()
		soon, err := c.Int("SELECT count(*) FROM entries WHERE expires > 0 AND expires < ?", c.clock.expiry(time.Minute))
		return err == nil && soon == 0
	}, time.Minute, time.Millisecond)
	require.NoError(t, s.removeDiscarded(t.Context()))
	keys, _, err := s.Scan(t.Context(), "", "", 0)
	require.NoError(t, err)
	var large []string
	for _, key := range keys {
		value, _, err := kv.Get(t.Context(), s, key)
		require.NoError(t, err)
		if len(value) > chunkSize {
			large = append(large, key)
		}
	}
	requireParts(t, s, large...)
	c := <-s.writer
	require.NoError(t, c.checkBlobs())
	s.writer <- c
	require.Zero(t, s.reservations.bytes())
	require.Empty(t, s.reservations.owners)
}

// history makes random calls.
type history struct {
	*Store
	*rand.Rand
}

func (h history) step(ctx context.Context) error {
	key := func() string { return kv.Prefix("a", "cache") + fmt.Sprint(h.IntN(12)) }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if h.IntN(4) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(h.IntN(5000))*time.Microsecond)
		defer cancel()
	}
	var err error
	switch ttl := []time.Duration{0, time.Hour, time.Millisecond}[h.IntN(3)]; h.IntN(5) {
	case 0:
		err = kv.Set(ctx, h, key(), h.value(), ttl)
	case 1:
		err = kv.SetMany(ctx, h, []kv.Entry{{Key: key(), Value: h.value(), TTL: ttl}, {Key: key(), Value: h.value()}, {Key: key(), Value: h.value()}})
	case 2:
		_, err = kv.Delete(ctx, h, key())
	default:
		k, value := key(), []byte(nil)
		if value, _, err = kv.Get(ctx, h, k); err == nil && !isWhole(value) {
			return fmt.Errorf("a value of %d bytes consists of two values", len(value))
		}
		if err == nil {
			_, err = kv.SetIf(ctx, h, k, value, h.value(), ttl)
		}
	}
	for _, err := range kv.ErrorsOf(err, 3) {
		if err != nil && !errors.Is(err, kv.ErrQuota) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}

// value returns bytes that depend on a number and repeat.
func (h history) value() []byte {
	n := []int{10, chunkSize, chunkSize + 1, 2 * chunkSize, 3*chunkSize + 7, 9 * chunkSize}[h.IntN(6)]
	return bytes.Repeat([]byte{byte(n % 251), byte(h.IntN(256))}, n/2+1)[:n]
}

func isWhole(value []byte) bool {
	return len(value) < 2 || value[0] == byte(len(value)%251) && bytes.Equal(value[2:], value[:len(value)-2])
}
