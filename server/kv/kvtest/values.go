package kvtest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

func missingKeys(t *testing.T, s kv.Store) {
	ctx := t.Context()
	requireMissing(t, s, "none")
	existed, err := kv.Delete(ctx, s, "none")
	require.NoError(t, err)
	require.False(t, existed)
	exists, err := kv.Exists(ctx, s, "none")
	require.NoError(t, err)
	require.False(t, exists)
	left, ok, err := s.TTL(ctx, "none")
	require.NoError(t, err)
	require.False(t, ok)
	require.Zero(t, left)
	require.NoError(t, s.Ping(ctx))
}

func roundTrip(t *testing.T, s kv.Store) {
	ctx := t.Context()
	mustSet(t, s, "k", []byte("one"))
	requireValue(t, s, "k", []byte("one"))
	mustSet(t, s, "k", []byte("two"))
	requireValue(t, s, "k", []byte("two"))
	exists, err := kv.Exists(ctx, s, "k")
	require.NoError(t, err)
	require.True(t, exists)
	requireMissing(t, s, "K")

	existed, err := kv.Delete(ctx, s, "k")
	require.NoError(t, err)
	require.True(t, existed)
	requireMissing(t, s, "k")
	existed, err = kv.Delete(ctx, s, "k")
	require.NoError(t, err)
	require.False(t, existed)
	mustSet(t, s, "k", []byte("three"))
	requireValue(t, s, "k", []byte("three"))
}

// readsWithinLimit reads values up to the limit, and the beginning and size of longer ones.
func readsWithinLimit(t *testing.T, s kv.Store) {
	ctx := t.Context()
	for _, size := range []int{0, 1, 99, 100, 101, 5000, 1 << 20} {
		value := randomBytes(size)
		mustSet(t, s, "k", value)
		found, err := s.Read(ctx, []string{"k"}, 100)
		require.NoError(t, err)
		got := found[0]
		require.True(t, got.Exists())
		require.Equal(t, size, got.Size)
		if size > 100 {
			require.Nil(t, got.Value)
			require.Equal(t, value[:100], got.Prefix)
		} else {
			require.Nil(t, got.Prefix)
			require.Equal(t, value, append([]byte{}, got.Value...))
		}
		found, err = s.Read(ctx, []string{"k"}, 0)
		require.NoError(t, err)
		require.True(t, found[0].Exists())
		require.Equal(t, size, found[0].Size)
	}
	_, err := kv.Delete(ctx, s, "k")
	require.NoError(t, err)
	found, err := s.Read(ctx, []string{"k"}, 100)
	require.NoError(t, err)
	require.False(t, found[0].Exists())
}

// readsManyWithinLimit does the same with several keys in one call.
func readsManyWithinLimit(t *testing.T, s kv.Store) {
	var keys []string
	var want []kv.ReadResult
	for _, size := range []int{0, 1, 99, 100, 101, 5000, 1 << 20} {
		key := strconv.Itoa(size)
		keys, want = append(keys, "none"+key, key), append(want, kv.ReadResult{}, kv.ReadResult{Size: size})
		value := randomBytes(size)
		mustSet(t, s, key, value)
		if one := &want[len(want)-1]; size <= 100 {
			one.Value = append([]byte{}, value...)
		} else {
			one.Prefix = value[:100]
		}
	}
	got, err := s.Read(t.Context(), keys, 100)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = s.Read(t.Context(), keys[3:4], 100)
	require.NoError(t, err)
	require.Equal(t, want[3:4], got)
	got, err = s.Read(t.Context(), nil, 100)
	require.NoError(t, err)
	require.Empty(t, got)
}

func values(t *testing.T, s kv.Store) {
	for name, value := range map[string][]byte{
		"empty": {}, "nil": nil, "one": {'a'}, "zero": {0}, "text": []byte("text"),
		"crlf": []byte("\r\n$-1\r\n"), "high": {0xff, 0xfe, 0x00, 0x80}, "1 KiB": randomBytes(1 << 10),
		// Sizes on both sides of those at which drivers change their representation.
		"1023": randomBytes(1<<10 - 1), "1017": randomBytes(1<<10 - 7), "1016": randomBytes(1<<10 - 8), "1015": randomBytes(1<<10 - 9), "1 MiB": randomBytes(1 << 20),
		"chunk": randomBytes(64 << 10), "chunk and one": randomBytes(64<<10 + 1), "chunk less one": randomBytes(64<<10 - 1), "two chunks": randomBytes(128 << 10),
	} {
		mustSet(t, s, name, value)
		requireValue(t, s, name, value)
		many, err := kv.GetMany(t.Context(), s, []string{name})
		require.NoError(t, err)
		require.NotNil(t, many[0], "%s: GetMany says missing", name)
		require.True(t, string(value) == string(many[0]), name)
	}
}

func binaryKeys(t *testing.T, s kv.Store) {
	keys := []string{
		"", "\x00", "\x00\x00", "a\x00b", "a\x00", "\xff\xfe\xfd", "\xc3\x28", "50%", "%00", "a/b", "/", "..", "é", "e\u0301",
		"a b", "a\r\nb", "*", "{slot}", "!badger!head", strings.Repeat("k", 1024), strings.Repeat("\xff", 1024),
		strings.Repeat("k", kv.MaxKeySize),
	}
	for i, key := range keys {
		mustSet(t, s, key, []byte{byte(i)})
	}
	for i, key := range keys {
		requireValue(t, s, key, []byte{byte(i)})
	}
	require.ElementsMatch(t, keys, scanAll(t, s, "", 7))
	for _, key := range keys {
		existed, err := kv.Delete(t.Context(), s, key)
		require.NoError(t, err)
		require.True(t, existed)
	}
	require.Empty(t, scanAll(t, s, "", 0))
}

// A store keeps no reference to the buffers of its caller.
func copiesBuffers(t *testing.T, s kv.Store) {
	ctx := t.Context()
	value := []byte("kept")
	mustSet(t, s, "a", value)
	require.NoError(t, kv.SetMany(ctx, s, []kv.Entry{{Key: "b", Value: value}}))
	old, fresh := []byte("kept"), []byte("swapped")
	ok, err := kv.CompareAndSwap(ctx, s, "b", old, fresh)
	require.NoError(t, err)
	require.True(t, ok)
	clear(value)
	clear(old)
	clear(fresh)
	requireValue(t, s, "a", []byte("kept"))
	requireValue(t, s, "b", []byte("swapped"))

	got, _, err := kv.Get(ctx, s, "a")
	require.NoError(t, err)
	mustSet(t, s, "a", []byte("else"))
	_, err = kv.Delete(ctx, s, "a")
	require.NoError(t, err)
	require.Equal(t, "kept", string(got))
}

func limits(t *testing.T, s kv.Store) {
	ctx := t.Context()
	longKey := strings.Repeat("k", kv.MaxKeySize+1)
	large := make([]byte, kv.MaxValueSize+1)
	require.ErrorIs(t, kv.Set(ctx, s, longKey, nil, 0), kv.ErrTooLarge)
	require.ErrorIs(t, kv.Set(ctx, s, "k", large, 0), kv.ErrTooLarge)
	require.ErrorIs(t, kv.Set(ctx, s, "k", nil, -1), kv.ErrInvalidTTL)
	_, err := kv.CompareAndSwap(ctx, s, "k", nil, large)
	require.ErrorIs(t, err, kv.ErrTooLarge)
	requireMissing(t, s, "k")
	requireMissing(t, s, longKey)
	for name, w := range map[string]kv.Write{
		"delete if absent": {Op: kv.Remove, If: kv.Absent}, "expire always": {Op: kv.Expire}, "expire if absent": {Op: kv.Expire, If: kv.Absent},
		"keep no ttl": {KeepTTL: true}, "no operation": {Op: 9}, "no condition": {If: 9},
	} {
		_, err := s.Write(ctx, []kv.Write{w})
		require.ErrorIs(t, err, kv.ErrInvalidWrite, name)
	}
	requireCode(t, kv.Set(ctx, s, "k", large, 0), "too_large")
	requireCode(t, kv.Set(ctx, s, "k", nil, -1), "invalid_argument")
}

func largeValue(t *testing.T, s kv.Store) {
	value := randomBytes(16 << 20)
	mustSet(t, s, "large", value)
	requireValue(t, s, "large", value)
	value[0]++
	mustSet(t, s, "large", value)
	requireValue(t, s, "large", value)
	changed := append([]byte("new"), value...)
	ok, err := kv.CompareAndSwap(t.Context(), s, "large", value, changed)
	require.NoError(t, err)
	require.True(t, ok)
	requireValue(t, s, "large", changed)
}

func largestValue(t *testing.T, s kv.Store) {
	value := randomBytes(kv.MaxValueSize)
	mustSet(t, s, "largest", value)
	requireValue(t, s, "largest", value)
	existed, err := kv.Delete(t.Context(), s, "largest")
	require.NoError(t, err)
	require.True(t, existed)
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var coded interface{ Code() string }
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code())
}
