package server

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const tenant = "clinic"

var sizes = []struct {
	name  string
	bytes int
}{{"100B", 100}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}}

var place = format.Place{Collection: "cache", Name: "patient:P12345", Named: true}

// BenchmarkSeal compares Seal with GCM that draws a random nonce, over additional data of the same size. Both allocate their
// results, except for the largest ones, which use a buffer that is kept: allocating it takes longer than the cryptography,
// and its duration varies.
func BenchmarkSeal(b *testing.B) {
	sealer, gcm, additional := newSealer(b), newGCM(b), newAdditional(b)
	request := seal.Request{Use: format.UseCache, Class: classify.PHI, Type: format.Bytes, Place: place}
	for _, size := range sizes {
		value := newValue(size.bytes)
		rawBuffer, buffer := newBuffer(size.bytes), newBuffer(size.bytes)
		ours := func() error {
			_, err := sealer.Seal(b.Context(), buffer, request, value)
			return err
		}
		b.Run(size.name, func(b *testing.B) {
			compare(b, each(func() error { gcm.Seal(rawBuffer, nil, value, additional); return nil }), each(ours))
			reportAllocations(b, ours)
		})
	}
}

// BenchmarkOpen compares Open with GCM in the same way.
func BenchmarkOpen(b *testing.B) {
	sealer, gcm, additional := newSealer(b), newGCM(b), newAdditional(b)
	request := seal.Request{Use: format.UseCache, Class: classify.PHI, Type: format.Bytes, Place: place}
	policy := envelope.OpenPolicy{Use: format.UseCache}
	for _, size := range sizes {
		value := newValue(size.bytes)
		sealed := gcm.Seal(nil, nil, value, additional)
		pkg, err := sealer.Seal(b.Context(), nil, request, value)
		require.NoError(b, err)
		rawBuffer, buffer := newBuffer(size.bytes), newBuffer(size.bytes)
		raw := func() error {
			_, err := gcm.Open(rawBuffer, nil, sealed, additional)
			return err
		}
		ours := func() error {
			_, err := sealer.Open(b.Context(), buffer, pkg, place, policy)
			return err
		}
		b.Run(size.name, func(b *testing.B) {
			compare(b, each(raw), each(ours))
			reportAllocations(b, ours)
		})
	}
}

// newBuffer returns a buffer for a package with a value of size bytes if the value is large, and nil otherwise.
func newBuffer(size int) []byte {
	if size < 1<<20 {
		return nil
	}
	return make([]byte, 0, size+1<<10)
}

func reportAllocations(b *testing.B, f func() error) {
	b.ReportMetric(testing.AllocsPerRun(100, func() { _ = f() }), "allocations")
}

// newSealer returns a sealer with a tenant's keys from a keyring on disk, as in the server.
func newSealer(b *testing.B) *seal.Sealer {
	kek, err := kms.NewLocal(make([]byte, 32))
	require.NoError(b, err)
	ring, err := keyring.Open(b.TempDir(), kek, "bench")
	require.NoError(b, err)
	keys, err := ring.Tenant(b.Context(), tenant)
	require.NoError(b, err)
	return seal.NewSealer(keys)
}

func newGCM(b *testing.B) cipher.AEAD {
	block, err := aes.NewCipher(newValue(format.KeySize))
	require.NoError(b, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(b, err)
	return gcm
}

// newAdditional returns additional data of the length that packages have.
func newAdditional(b *testing.B) []byte {
	owned := place
	owned.Owner = tenant
	additional, err := format.AppendAdditionalData(nil, make([]byte, format.HeaderSize), owned)
	require.NoError(b, err)
	return additional
}

func newValue(size int) []byte {
	value := make([]byte, size)
	_, _ = rand.Read(value)
	return value
}
