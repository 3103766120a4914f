package cache_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// sealers returns a function that returns the sealer of a tenant of one keyring.
func sealers(t testing.TB) func(tenant string) *seal.Sealer {
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	r, err := keyring.Open(t.TempDir(), kek, "test")
	require.NoError(t, err)
	return func(id string) *seal.Sealer {
		tenant, err := r.Tenant(t.Context(), id)
		require.NoError(t, err)
		return seal.NewSealer(tenant)
	}
}

// onEach runs a test with Redis and with the embedded store.
func onEach(t *testing.T, test func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer)) {
	t.Run("redis", func(t *testing.T) { test(t, rediskv.New(redistest.Start(t).Client(t)), sealers(t)) })
	t.Run("embedded", func(t *testing.T) {
		store, err := sqlitekv.Open(t.TempDir(), slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		defer store.Close()
		test(t, store, sealers(t))
	})
}

// stored returns the key in the store of an entry of the tenant "tenant".
func stored(key string) string { return "coffer/tenant/cache/" + key }

func TestGetReturnsWhatWasSet(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"))
		for _, class := range classify.All {
			for _, value := range [][]byte{{}, []byte("a planted value"), bytes.Repeat([]byte("x"), 300_000)} {
				key := "patient:é " + class.String()
				before := time.Now().Truncate(time.Millisecond)
				require.NoError(t, c.SetEncrypted(ctx, key, value, class, cache.TTL(time.Minute), cache.Context(map[string]string{"patient": "P1"})))
				got, err := c.GetDecrypted(ctx, key)
				require.NoError(t, err)
				require.True(t, bytes.Equal(value, got))
				entry, err := c.Get(ctx, key, cache.MinClass(class))
				require.NoError(t, err)
				require.True(t, bytes.Equal(value, entry.Value))
				require.Equal(t, map[string]string{"patient": "P1"}, entry.Context)
				require.Equal(t, []any{class, format.Bytes}, []any{entry.Class, entry.Type})
				require.False(t, entry.EncryptedAt.Before(before))

				header, err := c.Inspect(ctx, key)
				require.NoError(t, err)
				entry.Value = nil
				require.Equal(t, entry, header)
				raw, ok, err := kv.Get(ctx, store, stored(key))
				require.NoError(t, err)
				require.True(t, ok)
				if len(value) > 0 {
					require.Equal(t, class == classify.Public, bytes.Contains(raw, value))
				}
			}
		}
	})
}

func TestMediaTypeIsReturnedWithTheValue(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"))
		require.NoError(t, c.SetEncrypted(ctx, "scan", []byte("DICM"), classify.PHI, cache.MediaType("application/dicom")))
		entry, err := c.Get(ctx, "scan")
		require.NoError(t, err)
		require.Equal(t, []string{"DICM", "application/dicom"}, []string{string(entry.Value), entry.MediaType})
	})
}

func TestMissingEntries(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"))
		_, err := c.GetDecrypted(ctx, "k")
		require.ErrorIs(t, err, cache.ErrNotFound)
		require.Equal(t, "not_found", codes.Of(err).Code)
		_, err = c.Get(ctx, "k")
		require.ErrorIs(t, err, cache.ErrNotFound)
		_, err = c.Inspect(ctx, "k")
		require.ErrorIs(t, err, cache.ErrNotFound)
		for _, there := range []bool{false, true, false} {
			if there {
				require.NoError(t, c.SetEncrypted(ctx, "k", nil, classify.PHI))
			}
			found, err := c.Exists(ctx, "k")
			require.NoError(t, err)
			require.Equal(t, there, found)
			found, err = c.Delete(ctx, "k")
			require.NoError(t, err)
			require.Equal(t, there, found)
		}
	})
}

// The default time to live is the maximum of the class. A longer one is refused, and a shorter one is used, with a
// resolution of 1 ms.
func TestTTLIsBoundedByClass(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx := t.Context()
		c := cache.New(store, sealer("tenant"), cache.WithMaxTTL(classify.PII, time.Hour), cache.WithMaxTTL(classify.Internal, 0), cache.WithMaxTTL(0, time.Second))
		left := func(class classify.Class, ttl time.Duration) time.Duration {
			require.NoError(t, c.SetEncrypted(ctx, "k", nil, class, cache.TTL(ttl)))
			d, ok, err := store.TTL(ctx, stored("k"))
			require.NoError(t, err)
			require.True(t, ok)
			return d
		}
		const day = 24 * time.Hour
		for class, longest := range map[classify.Class]time.Duration{classify.Confidential: day, classify.PHI: day, classify.PII: time.Hour} {
			require.InDelta(t, longest, left(class, 0), float64(30*time.Second))
			require.InDelta(t, longest, left(class, longest), float64(30*time.Second))
			require.InDelta(t, time.Minute, left(class, time.Minute), float64(30*time.Second))
			err := c.SetEncrypted(ctx, "k", nil, class, cache.TTL(longest+1))
			require.ErrorIs(t, err, cache.ErrTTL)
			require.Equal(t, "ttl_out_of_range", codes.Of(err).Code)
		}
		for _, class := range []classify.Class{classify.Public, classify.Internal} { // without a limit
			require.Zero(t, left(class, 0))
			require.InDelta(t, 365*day, left(class, 365*day), float64(30*time.Second))
		}
		require.ErrorIs(t, c.SetEncrypted(ctx, "k", nil, classify.PHI, cache.TTL(-1)), cache.ErrNegativeTTL)
		require.NoError(t, c.SetEncrypted(ctx, "short", nil, classify.PHI, cache.TTL(30*time.Millisecond)))
		require.Eventually(t, func() bool {
			_, err := c.GetDecrypted(ctx, "short")
			return err == cache.ErrNotFound
		}, 20*time.Second, 10*time.Millisecond)
	})
}

func TestInvalidArgumentsAreRefused(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"))
		require.NoError(t, c.SetEncrypted(ctx, "k", []byte("kept"), classify.PII))
		require.ErrorIs(t, c.SetEncrypted(ctx, "k", nil, 0), classify.ErrUnknown)
		require.ErrorIs(t, c.SetEncrypted(ctx, "k", nil, 6), classify.ErrUnknown)
		require.ErrorIs(t, c.SetEncrypted(ctx, "k", make([]byte, format.MaxValue+1), classify.PHI), format.ErrTooLarge)
		require.ErrorIs(t, c.SetEncrypted(ctx, "k", nil, classify.PHI, cache.Context(map[string]string{"\xff": ""})), format.ErrInvalid)
		value, err := c.GetDecrypted(ctx, "k")
		require.NoError(t, err)
		require.Equal(t, "kept", string(value))
		_, err = c.GetDecrypted(ctx, "k", cache.MinClass(classify.PHI))
		require.ErrorIs(t, err, classify.ErrTooLow)

		for key, want := range map[string]error{strings.Repeat("x", format.MaxName+1): format.ErrTooLarge, "\xff": format.ErrInvalid} {
			errs := []error{c.SetEncrypted(ctx, key, nil, classify.PHI)}
			_, err := c.GetDecrypted(ctx, key)
			errs = append(errs, err)
			_, err = c.Get(ctx, key)
			errs = append(errs, err)
			_, err = c.Inspect(ctx, key)
			errs = append(errs, err)
			_, err = c.Exists(ctx, key)
			errs = append(errs, err)
			_, err = c.Delete(ctx, key)
			errs = append(errs, err, c.SetMany(ctx, []cache.Item{{Key: key, Class: classify.PHI}}))
			_, err = c.GetMany(ctx, []string{"k", key})
			errs = append(errs, err)
			_, err = c.DeleteMany(ctx, []string{"k", key})
			errs = append(errs, err)
			for i, err := range errs {
				require.ErrorIs(t, err, want, i)
			}
		}
		_, err = c.GetDecrypted(ctx, "k")
		require.NoError(t, err, "a refused batch changes nothing")
	})
}

// damages returns damaged copies of a package. All but the last are invalid by their header.
func damages(pkg []byte) map[string][]byte {
	change := func(at int, to byte) []byte {
		changed := bytes.Clone(pkg)
		changed[at] = to
		return changed
	}
	return map[string][]byte{
		"empty": {}, "truncated": pkg[:20], "without its body": pkg[:format.HeaderSize], "no package": []byte("not a package"),
		"wrong magic": change(0, 'X'), "later version": change(3, 9), "no class": change(8, 99), "of a lower class": change(8, byte(classify.Internal)),
	}
}

// A stored value that was altered, moved or replaced is never returned.
func TestTamperedValuesAreRefused(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c, other := t.Context(), cache.New(store, sealer("tenant")), cache.New(store, sealer("other"))
		for _, class := range []classify.Class{classify.Public, classify.PHI} {
			require.NoError(t, c.SetEncrypted(ctx, "k", []byte("value"), class))
			raw, _, err := kv.Get(ctx, store, stored("k"))
			require.NoError(t, err)
			raw = bytes.Clone(raw)
			put := func(key string, value []byte) { require.NoError(t, kv.Set(ctx, store, stored(key), value, 0)) }
			for _, i := range []int{65, 80, 92, len(raw) - 1} { // time, nonce, ciphertext or tag
				altered := bytes.Clone(raw)
				altered[i] ^= 1
				put("k", altered)
				value, err := c.GetDecrypted(ctx, "k")
				require.ErrorIs(t, err, envelope.ErrAuthentication)
				require.Empty(t, value)
				entry, err := c.Get(ctx, "k")
				require.ErrorIs(t, err, envelope.ErrAuthentication)
				require.Zero(t, entry)
			}
			put("copied", raw)
			_, err = c.GetDecrypted(ctx, "copied")
			require.ErrorIs(t, err, envelope.ErrAuthentication)
			for name, damaged := range damages(raw) {
				if class == classify.Public && name == "of a lower class" {
					continue
				}
				put("k", damaged)
				_, err = c.GetDecrypted(ctx, "k")
				require.ErrorIs(t, err, envelope.ErrAuthentication, name)
				_, err = c.GetDecrypted(ctx, "k", cache.MinClass(classify.PHI))
				require.ErrorIs(t, err, envelope.ErrAuthentication, name)
				many, err := c.GetMany(ctx, []string{"k"})
				require.NoError(t, err)
				require.ErrorIs(t, many[0].Err, envelope.ErrAuthentication, name)
				err = c.Remove(ctx, "k", cache.Condition{Present: true, Tags: []string{"tag"}})
				if name == "of a lower class" {
					require.ErrorIs(t, err, cache.ErrPrecondition)
					continue
				}
				require.ErrorIs(t, err, envelope.ErrAuthentication, name)
				_, err = c.Inspect(ctx, "k")
				require.ErrorIs(t, err, envelope.ErrAuthentication, name)
				_, err = c.Expire(ctx, "k", time.Minute, cache.Condition{})
				require.ErrorIs(t, err, envelope.ErrAuthentication, name)
				found, err := c.Packages(ctx, []string{"k"}, 1<<20)
				require.NoError(t, err)
				require.ErrorIs(t, found[0].Err, envelope.ErrAuthentication, name)
			}
			put("k", raw)
			_, err = other.GetDecrypted(ctx, "k")
			require.ErrorIs(t, err, cache.ErrNotFound)
			require.NoError(t, kv.Set(ctx, store, "coffer/other/cache/k", raw, 0))
			_, err = other.GetDecrypted(ctx, "k")
			require.ErrorIs(t, err, envelope.ErrAuthentication)
			unknown := bytes.Clone(raw)
			unknown[10] ^= 1
			require.NoError(t, kv.Set(ctx, store, "coffer/other/cache/k", unknown, 0))
			_, err = other.GetDecrypted(ctx, "k")
			require.ErrorIs(t, err, envelope.ErrUnknownKey)
			_, err = other.Delete(ctx, "k")
			require.NoError(t, err)
		}
		// a package of another use of the same tenant
		pkg, err := sealer("tenant").Seal(ctx, nil, seal.Request{
			Use: format.UseField, Class: classify.PHI, Type: format.Bytes,
			Place: format.Place{Owner: "tenant", Collection: cache.Collection, Name: "k", Named: true},
		}, []byte("value"))
		require.NoError(t, err)
		require.NoError(t, kv.Set(ctx, store, stored("k"), pkg, 0))
		_, err = c.GetDecrypted(ctx, "k")
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	})
}
