package sqlitekv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/kv"
)

// during calls do again and again while call runs, once at least.
func during(t *testing.T, call func() error, do func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	for {
		do()
		select {
		case err := <-done:
			require.NoError(t, err)
			return
		default:
		}
	}
}

// A read gives one of the values that were written, whole, while a large value is written again and again with other bytes and
// sizes.
func TestReadDuringOverwrite(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), open(t, t.TempDir())
	size := func(n byte) int { return 3*chunkSize + int(n)*chunkSize/8 }
	write := func(n byte) error { return kv.Set(ctx, s, "k", bytes.Repeat([]byte{n}, size(n)), time.Hour) }
	require.NoError(t, write(0))
	during(t, func() (err error) {
		for n := byte(0); n < 200 && err == nil; n++ {
			err = write(n % 16)
		}
		return err
	}, func() {
		value, ok, err := kv.Get(ctx, s, "k")
		require.NoError(t, err)
		require.True(t, ok)
		require.Len(t, value, size(value[0]))
		require.Equal(t, len(value), bytes.Count(value, value[:1]), "bytes of two values")
	})
}

// between runs call on a pool with one connection, and takes that connection each time that call has put it back, which is a turn of call.
// A pool without a buffer makes the calls alternate, however the system schedules them: call cannot have two turns in a row.
func between(t *testing.T, s *Store, pool *chan *conn, call func() error, do func(c *conn)) {
	t.Helper()
	s.stop() // no maintenance, which would use the pool
	<-s.done
	c, buffered := <-*pool, *pool
	*pool = make(chan *conn)
	done := make(chan error, 1)
	go func() { done <- call() }()
	running, failed := true, error(nil)
	turn := func() bool {
		select {
		case *pool <- c:
			c = <-*pool
		case failed = <-done:
			running = false
		}
		return running
	}
	defer func() { // after a failed requirement too, so that the store can be closed
		for running && turn() {
		}
		buffered <- c
		*pool = buffered
	}()
	for turn() {
		do(c)
	}
	require.NoError(t, failed)
}

// Other readers get a connection while all of them read large values, instead of waiting until one is whole.
func TestTurnsDuringLargeReads(t *testing.T) {
	t.Parallel()
	const parts = 400
	ctx, s := t.Context(), open(t, t.TempDir())
	value := make([]byte, (parts+1)*chunkSize)
	require.NoError(t, kv.Set(ctx, s, "large", value, 0))
	require.NoError(t, kv.Set(ctx, s, "small", []byte("v"), 0))
	for range cap(s.readers) - 1 {
		<-s.readers
	}
	var got []byte
	turns := 0
	between(t, s, &s.readers, func() (err error) {
		got, _, err = kv.Get(ctx, s, "large")
		return err
	}, func(c *conn) {
		turns++
		small, _, err := c.read("small", 1)
		require.NoError(t, err)
		require.Equal(t, "v", string(small))
	})
	require.True(t, bytes.Equal(value, got))
	require.Equal(t, 1+parts/turnParts, turns)
}

// A write under the condition that a large value is still there does not read the value in its turn to write.
func TestComparisonOutsideOfTurns(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), open(t, t.TempDir())
	s.stop() // no maintenance, which would read pages by the same connection
	<-s.done
	value := make([]byte, 400*chunkSize)
	other := append(bytes.Clone(value[1:]), 1)
	require.NoError(t, kv.Set(ctx, s, "k", value, 0))
	for _, one := range []struct {
		write kv.Write
		done  bool
	}{
		{kv.Write{Op: kv.Expire, Old: value, TTL: time.Hour}, true},
		{kv.Write{Op: kv.Expire, Old: other, TTL: time.Hour}, false},
		{kv.Write{Op: kv.Expire, Old: value[1:], TTL: time.Hour}, false},
		{kv.Write{Op: kv.Remove, Old: other}, false},
		{kv.Write{Op: kv.Put, Old: value, Value: other}, true},
		{kv.Write{Op: kv.Put, Old: value, Value: []byte("v")}, false},
		{kv.Write{Op: kv.Put, Old: other, Value: []byte("v")}, true},
		{kv.Write{Op: kv.Expire, Old: other, TTL: time.Hour}, false},
	} {
		one.write.Key, one.write.If = "k", kv.Equals
		read := func() int64 {
			c := <-s.writer
			defer func() { s.writer <- c }()
			hits, _, err := c.Status(sqlite3.DBSTATUS_CACHE_HIT, true)
			require.NoError(t, err)
			misses, _, err := c.Status(sqlite3.DBSTATUS_CACHE_MISS, true)
			require.NoError(t, err)
			return hits + misses
		}
		read()
		done, err := s.Write(ctx, []kv.Write{one.write})
		require.NoError(t, err)
		require.Equal(t, one.done, done[0])
		if one.write.Op != kv.Put {
			require.Less(t, read(), int64(len(value)/sqlitefile.PageSize/2))
		}
	}
}

// Other writers get their turn while a large value is written, replaced or removed: each turn of that call changes no more parts than is
// fair after its wait.
func TestTurnsDuringLargeWrite(t *testing.T) {
	t.Parallel()
	const parts = 400
	value := make([]byte, (parts+1)*chunkSize)
	for name, call := range map[string]func(ctx context.Context, s *Store) error{
		"write":   func(ctx context.Context, s *Store) error { return kv.Set(ctx, s, "large", value, time.Hour) },
		"replace": func(ctx context.Context, s *Store) error { return kv.Set(ctx, s, "other", []byte("small"), time.Hour) },
		"remove":  func(ctx context.Context, s *Store) error { _, err := kv.Delete(ctx, s, "other"); return err },
	} {
		ctx, s := t.Context(), open(t, t.TempDir())
		require.NoError(t, kv.Set(ctx, s, "other", value, time.Hour))
		before, changed := int64(parts), int64(0)
		between(t, s, &s.writer, func() error { return call(ctx, s) }, func(c *conn) {
			n, err := c.Int("SELECT count(*) FROM parts")
			require.NoError(t, err)
			require.LessOrEqual(t, max(n-before, before-n), int64(c.fairParts()), name)
			changed += max(n-before, before-n)
			before = n
			require.NoError(t, c.Run("UPDATE store SET clock = 0")) // another's write
		})
		require.EqualValues(t, parts, changed, name)
	}
}

// requireParts requires the parts of these entries, and not one more.
func requireParts(t *testing.T, s *Store, keys ...string) {
	t.Helper()
	var want, parts, discarded int64
	c := <-s.writer
	defer func() { s.writer <- c }()
	for _, key := range keys {
		r, err := c.lookup(key)
		require.NoError(t, err)
		want += r.size - chunkSize
	}
	parts, err := c.Int("SELECT total(length(value)) FROM parts")
	require.NoError(t, err)
	discarded, err = c.Int("SELECT count(*) FROM discarded")
	require.NoError(t, err)
	require.Equal(t, []int64{want, 0}, []int64{parts, discarded})
}

// Whatever becomes of a large value, the store has no parts that no entry needs.
func TestNoPartIsLeft(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := Open(t.TempDir(), nil, WithQuota(20*chunkSize))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	prefix := kv.Prefix("a", "cache")
	a, b, large := prefix+"a", prefix+"b", make([]byte, 5*chunkSize)
	require.NoError(t, kv.Set(ctx, s, a, large, time.Hour))
	require.NoError(t, kv.Set(ctx, s, a, large, time.Hour))
	requireParts(t, s, a)
	require.NoError(t, kv.SetMany(ctx, s, []kv.Entry{{Key: prefix + "c", Value: []byte("small")}, {Key: b, Value: large}, {Key: a, Value: large}}))
	requireParts(t, s, a, b)
	done, err := kv.SetIf(ctx, s, a, []byte("something else"), large, 0)
	require.NoError(t, err)
	require.False(t, done)
	require.ErrorIs(t, kv.Set(ctx, s, prefix+"d", make([]byte, 12*chunkSize), 0), kv.ErrQuota)
	requireParts(t, s, a, b)
	require.NoError(t, kv.Set(ctx, s, b, []byte("small"), time.Hour))
	requireParts(t, s, a)
	existed, err := kv.Delete(ctx, s, a)
	require.NoError(t, err)
	require.True(t, existed)
	requireParts(t, s)
	require.NoError(t, kv.Set(ctx, s, a, large, time.Millisecond))
	require.Eventually(t, func() bool {
		c := <-s.writer
		defer func() { s.writer <- c }()
		n, err := c.Int("SELECT count(*) FROM parts")
		return err == nil && n == 0
	}, time.Minute, time.Millisecond, "of an expired entry")
	requireParts(t, s)
	requireCounted(t, s)
}

// A large value that a kill interrupted leaves nothing behind, and the values that were there are whole.
func TestKilledDuringLargeWrite(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	large := bytes.Repeat([]byte("v"), 10*chunkSize)
	s := open(t, dir)
	require.NoError(t, kv.Set(ctx, s, "k", large, 0))
	require.NoError(t, s.Close())
	written := killAfter(t, proctest.Again(t, "overwrites", dir), 3, func() {})
	s = open(t, dir)
	value, ok, err := kv.Get(ctx, s, "k")
	require.NoError(t, err)
	require.True(t, ok)
	require.Len(t, value, len(large))
	require.Equal(t, len(value), bytes.Count(value, value[:1]), "bytes of two values")
	require.Contains(t, []byte{byte(written - 1), byte(written)}, value[0], "a write that returned is lost")
	require.Eventually(t, func() bool {
		c := <-s.writer
		defer func() { s.writer <- c }()
		n, err := c.Int("SELECT count(*) FROM discarded")
		return err == nil && n == 0
	}, time.Minute, time.Millisecond)
	requireParts(t, s, "k")
	require.NoError(t, s.Close())
	found, err := Check(ctx, dir, nil)
	require.NoError(t, err)
	require.Empty(t, found.Damage)
}

// init makes the role known.
func init() { roles["overwrites"] = overwrite }

// overwrite is a process that writes the same key until it is killed.
func overwrite(t testing.TB) {
	s, err := Open(os.Args[1], nil)
	require.NoError(t, err)
	for i := 0; ; i++ {
		require.NoError(t, kv.Set(t.Context(), s, "k", bytes.Repeat([]byte{byte(i)}, 10*chunkSize), 0))
		fmt.Println(i)
	}
}

// The sweep of each tick leaves the parts of values that are being written.
func TestSweepDuringLargeWrite(t *testing.T) {
	t.Parallel()
	const size = 300 * chunkSize
	ctx, s := t.Context(), open(t, t.TempDir())
	during(t, func() error { return kv.Set(ctx, s, "k", make([]byte, size), 0) }, func() { require.NoError(t, s.sweepAll(ctx)) })
	value, ok, err := kv.Get(ctx, s, "k")
	require.NoError(t, err)
	require.True(t, ok)
	require.Len(t, value, size)
}
