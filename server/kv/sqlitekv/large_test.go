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

// during calls do repeatedly while call runs, at least once.
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

// A read returns one of the written values intact, while a large value is overwritten repeatedly with other bytes and
// sizes.
func TestReadDuringOverwriteReturnsWholeValue(t *testing.T) {
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
	s.stopMaintenance() // no maintenance, which would use the pool
	<-s.maintenanceDone
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
	defer func() { // also after a failed requirement, so that the store can be closed
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

// Other readers get a connection while all connections are used to read large values.
func TestReadersShareConnections(t *testing.T) {
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
		small, _, err := c.readValue("small", 1)
		require.NoError(t, err)
		require.Equal(t, "v", string(small))
	})
	require.True(t, bytes.Equal(value, got))
	require.Equal(t, 1+parts/partsPerTurn, turns)
}

// A conditional write compares a large value before its turn to write, not within it.
func TestComparisonIsMadeBeforeTurn(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), open(t, t.TempDir())
	s.stopMaintenance() // no maintenance, which would read pages with the same connection
	<-s.maintenanceDone
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

// Other writers get their turn while a large value is written, replaced or removed. Each turn changes no more parts
// than its wait allows.
func TestWritersTakeTurnsDuringLargeWrite(t *testing.T) {
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
			require.LessOrEqual(t, max(n-before, before-n), int64(c.partsThisTurn()), name)
			changed += max(n-before, before-n)
			before = n
			require.NoError(t, c.Run("UPDATE store SET clock = 0")) // a write of another caller
		})
		require.EqualValues(t, parts, changed, name)
	}
}

// requireParts checks that the store has the parts of the given entries and no others.
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

// After any outcome of a large write, the store has no parts that belong to no entry.
func TestLargeWritesLeaveNoParts(t *testing.T) {
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

// A large write that a kill interrupts leaves no parts, and the existing values are intact.
func TestKillDuringLargeWriteLeavesNoParts(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	large := bytes.Repeat([]byte("v"), 10*chunkSize)
	s := open(t, dir)
	require.NoError(t, kv.Set(ctx, s, "k", large, 0))
	require.NoError(t, s.Close())
	written := killAfter(t, proctest.RoleCommand(t, "overwrites", dir), 3, func() {})
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

// init registers the process that the test kills.
func init() { roles["overwrites"] = overwrite }

// overwrite is the process that overwrites one key until it is killed.
func overwrite(t testing.TB) {
	s, err := Open(os.Args[1], nil)
	require.NoError(t, err)
	for i := 0; ; i++ {
		require.NoError(t, kv.Set(t.Context(), s, "k", bytes.Repeat([]byte{byte(i)}, 10*chunkSize), 0))
		fmt.Println(i)
	}
}

// Maintenance does not remove the parts of values that are being written.
func TestMaintenanceKeepsPartsOfRunningWrites(t *testing.T) {
	t.Parallel()
	const size = 300 * chunkSize
	ctx, s := t.Context(), open(t, t.TempDir())
	during(t, func() error { return kv.Set(ctx, s, "k", make([]byte, size), 0) }, func() { require.NoError(t, s.removeDiscarded(ctx)) })
	value, ok, err := kv.Get(ctx, s, "k")
	require.NoError(t, err)
	require.True(t, ok)
	require.Len(t, value, size)
}
