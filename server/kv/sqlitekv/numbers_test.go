package sqlitekv

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// edit executes a statement on the database, as a person with a database editor could.
func edit(t *testing.T, s *Store, query string, args ...any) {
	t.Helper()
	c := <-s.writer
	defer func() { s.writer <- c }()
	require.NoError(t, c.Run(query, args...))
}

// An entry with numbers that no write stores is damaged for every call that uses them, and for Check. Repair keeps the
// other entries.
func TestImpossibleNumbersAreDamage(t *testing.T) {
	t.Parallel()
	const size = 3*chunkSize + 10
	for name, change := range map[string]string{
		"negative size":    "UPDATE entries SET size = -1 WHERE key = 'x'",
		"least size":       "UPDATE entries SET size = -9223372036854775808 WHERE key = 'x'",
		"greatest size":    "UPDATE entries SET size = 9223372036854775807 WHERE key = 'x'",
		"no size":          "UPDATE entries SET size = 0 WHERE key = 'x'",
		"smaller size":     "UPDATE entries SET size = size - 1 WHERE key = 'x'",
		"larger size":      "UPDATE entries SET size = size + 1 WHERE key = 'x'",
		"a part less":      "UPDATE entries SET size = size - 65536 WHERE key = 'x'",
		"a part more":      "UPDATE entries SET size = size + 65536 WHERE key = 'x'",
		"shorter chunk":    "UPDATE entries SET value = x'01' WHERE key = 'x'",
		"longer chunk":     "UPDATE entries SET value = zeroblob(65537) WHERE key = 'x'",
		"shorter part":     "UPDATE parts SET value = x'01' WHERE id & 2047 = 1",
		"longer part":      "UPDATE parts SET value = zeroblob(65537) WHERE id & 2047 = 1",
		"empty part":       "UPDATE parts SET value = x'' WHERE id & 2047 = 2",
		"missing part":     "DELETE FROM parts WHERE id & 2047 = 3",
		"negative expires": "UPDATE entries SET expires = -1 WHERE key = 'x'",
		"id 0":             "UPDATE entries SET id = 0 WHERE key = 'x'",
		"negative id":      "UPDATE entries SET id = -1 WHERE key = 'x'",
		"greatest id":      "UPDATE entries SET id = 9223372036854775807 WHERE key = 'x'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			value := bytes.Repeat([]byte("v"), size)
			require.NoError(t, kv.Set(t.Context(), s, "a", []byte("other"), time.Hour))
			require.NoError(t, kv.Set(t.Context(), s, "x", value, time.Hour))
			edit(t, s, replaceKey(change))
			_, err := s.Read(t.Context(), []string{"a", "x"}, kv.MaxValueSize)
			require.ErrorIs(t, err, kv.ErrDamaged)
			require.ErrorIs(t, s.Check(t.Context()), kv.ErrDamaged)
			for _, w := range []kv.Write{
				{Key: "x", Op: kv.Put, Value: []byte("n")},
				{Key: "x", Op: kv.Remove},
				{Key: "x", Op: kv.Put, Value: []byte("n"), If: kv.Equals, Old: value},
			} {
				done, err := s.Write(t.Context(), []kv.Write{w})
				require.True(t, err != nil || !done[0], "%+v", w.Op)
				if err != nil {
					require.ErrorIs(t, err, kv.ErrDamaged)
				}
			}
			got, ok, err := kv.Get(t.Context(), s, "a")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, "other", string(got))
			require.NoError(t, s.Close())

			found, err := Check(t.Context(), dir, nil)
			require.NoError(t, err)
			require.NotEmpty(t, found.Damage)
			_, err = Repair(t.Context(), dir, nil)
			require.NoError(t, err)
			found, err = Check(t.Context(), dir, nil)
			require.NoError(t, err)
			require.Empty(t, found.Damage)
			require.Equal(t, 1, found.Read)
		})
	}
}

func replaceKey(change string) string { return strings.ReplaceAll(change, "'x'", "x'78'") }

// If someone edits the numbers from which the store derives new ones, the store acknowledges no write that cannot be
// read afterwards.
func TestEditedNumbersLoseNoWrite(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"last blob":           "UPDATE entries SET blob = (1 << 51) - 2",
		"last discarded blob": "INSERT INTO discarded VALUES ((1 << 51) - 2)",
		"last part":           "INSERT INTO parts SELECT ((1 << 51) - 2 << 11) | 1, value FROM parts LIMIT 1",
		"last id":             "UPDATE entries SET id = (1 << 52) - 1",
		"negative id":         "UPDATE entries SET id = -3",
		"last time":           "UPDATE store SET clock = 9223372036854775000",
		"earliest time":       "UPDATE store SET clock = -9223372036854775808",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			require.NoError(t, kv.Set(t.Context(), s, "x", make([]byte, 3*chunkSize), 0))
			edit(t, s, change)
			c := <-s.writer
			require.NoError(t, s.loadState(c)) // as at a start
			s.writer <- c
			for i := range 8 {
				key, value := fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 1+i%2*3*chunkSize)
				if err := kv.Set(t.Context(), s, key, value, time.Hour); err != nil {
					require.ErrorIs(t, err, kv.ErrDamaged)
					require.ErrorIs(t, s.Check(t.Context()), kv.ErrDamaged)
					continue
				}
				got, ok, err := kv.Get(t.Context(), s, key)
				require.NoError(t, err)
				require.True(t, ok && bytes.Equal(value, got))
			}
			require.NoError(t, s.Close())
			_, err := Repair(t.Context(), dir, nil)
			require.NoError(t, err)
			s = open(t, dir)
			require.NoError(t, kv.Set(t.Context(), s, "after", make([]byte, 3*chunkSize), time.Hour))
			require.NoError(t, s.Check(t.Context()))
		})
	}
}

// A damaged expired entry does not prevent the removal of others. A negative time does not shorten a list.
func TestExpiryContinuesBehindDamage(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	keys := []string{kv.Prefix("a", "cache") + "bad", kv.Prefix("a", "cache") + "parts", kv.Prefix("a", "cache") + "good"}
	for _, key := range keys {
		require.NoError(t, kv.Set(t.Context(), s, key, make([]byte, 2*chunkSize), time.Hour))
	}
	edit(t, s, "UPDATE entries SET size = ? WHERE key = ?", int64(math.MinInt64), []byte(keys[0]))
	edit(t, s, "UPDATE entries SET size = size + 1 WHERE key = ?", []byte(keys[1]))
	edit(t, s, "UPDATE entries SET expires = 1")
	require.Eventually(t, func() bool {
		c := <-s.writer
		defer func() { s.writer <- c }()
		n, err := c.Int("SELECT count(*) FROM entries")
		return err == nil && n == 2
	}, time.Minute, time.Millisecond)
	require.ErrorIs(t, s.Check(t.Context()), kv.ErrDamaged)
	edit(t, s, "UPDATE entries SET expires = -1 WHERE key = ?", []byte(keys[0]))
	_, _, err := s.Scan(t.Context(), "", "", 0)
	require.ErrorIs(t, err, kv.ErrDamaged)
}

// The next write recomputes an impossible count, and is neither refused nor accepted because of it. Check reports every
// wrong count, and Repair corrects them.
func TestEditedUsageIsCorrected(t *testing.T) {
	t.Parallel()
	const quota = 1 << 20
	mine, theirs := kv.Prefix("a", "cache"), kv.Prefix("b", "cache")
	for name, c := range map[string]struct {
		change   string
		possible bool // only Check can find it
	}{
		"negative":       {change: "UPDATE usage SET bytes = -1"},
		"least":          {change: "UPDATE usage SET bytes = -9223372036854775808"},
		"greatest":       {change: "UPDATE usage SET bytes = 9223372036854775807"},
		"above the file": {change: "UPDATE usage SET bytes = 1099511627776"},
		"zero":           {change: "UPDATE usage SET bytes = 0"},
		"missing":        {change: "DELETE FROM usage"},
		"too small":      {change: "UPDATE usage SET bytes = 5"},
		"a byte less":    {change: "UPDATE usage SET bytes = bytes - 1", possible: true},
		"a byte more":    {change: "UPDATE usage SET bytes = bytes + 1", possible: true},
		"nobody's":       {change: "INSERT INTO usage VALUES (x'00', 100)", possible: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fill := func() *Store {
				s, err := Open(dir, nil, WithQuota(quota))
				require.NoError(t, err)
				for i := range 6 {
					require.NoError(t, kv.Set(t.Context(), s, mine+fmt.Sprint(i), make([]byte, 100_000), time.Hour))
					require.NoError(t, kv.Set(t.Context(), s, theirs+fmt.Sprint(i), []byte("small"), time.Hour))
				}
				requireCounted(t, s)
				edit(t, s, c.change)
				return s
			}
			if s := fill(); !c.possible {
				_, err := s.Bytes(t.Context())
				require.NoError(t, err)
				require.ErrorIs(t, kv.Set(t.Context(), s, mine+"7", make([]byte, quota), time.Hour), kv.ErrQuota)
				existed, err := kv.Delete(t.Context(), s, mine+"0")
				require.NoError(t, err)
				require.True(t, existed)
				require.NoError(t, kv.Set(t.Context(), s, mine+"0", make([]byte, 110_000), time.Hour))
				existed, err = kv.Delete(t.Context(), s, theirs+"0")
				require.NoError(t, err)
				require.True(t, existed)
				requireCounted(t, s)
				require.ErrorIs(t, kv.Set(t.Context(), s, mine+"7", make([]byte, 500_000), time.Hour), kv.ErrQuota)
				require.NoError(t, kv.Set(t.Context(), s, mine+"7", make([]byte, 400_000), time.Hour))
				requireCounted(t, s)
				require.NoError(t, s.Close())
				found, err := Check(t.Context(), dir, nil)
				require.NoError(t, err)
				require.Empty(t, found.Damage)
				dir = t.TempDir()
				s = fill()
				require.NoError(t, s.Close())
			} else {
				require.NoError(t, s.Close())
			}
			found, err := Check(t.Context(), dir, nil)
			require.NoError(t, err)
			require.Len(t, found.Damage, 1)
			require.Contains(t, found.Damage[0], "the counted bytes of")
			_, err = Repair(t.Context(), dir, nil)
			require.NoError(t, err)
			found, err = Check(t.Context(), dir, nil)
			require.NoError(t, err)
			require.Empty(t, found.Damage)
		})
	}
}
