package seal_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/internal/sidebyside"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

var benchmarkPlace = format.Place{Collection: "cache", Name: "patient:P12345", Named: true}

// BenchmarkSealOpen measures sealing and opening one value against crypto/cipher's GCM that draws its own nonce, over additional
// data of the same size. Both allocate their results.
func BenchmarkSealOpen(b *testing.B) {
	for _, size := range []int{100, 1 << 10, 64 << 10, 1 << 20, 16 << 20} {
		value := make([]byte, size)
		_, _ = rand.Read(value)
		b.Run(fmt.Sprint(size), func(b *testing.B) { sidebyside.Run(b, rawSealOpen(b, value), sealOpen(b, value)) })
	}
}

func rawSealOpen(b *testing.B, value []byte) func() error {
	key := make([]byte, format.KeySize)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	require.NoError(b, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(b, err)
	place := benchmarkPlace
	place.Owner = "tenant"
	additional, err := format.AppendAdditionalData(nil, make([]byte, format.HeaderSize), place)
	require.NoError(b, err)
	return func() error {
		_, err := gcm.Open(nil, nil, gcm.Seal(nil, nil, value, additional), additional)
		return err
	}
}

func sealOpen(b *testing.B, value []byte) func() error {
	s := seal.NewSealer(newKeys(b, "tenant"))
	request := seal.Request{Use: format.UseCache, Class: classify.PHI, Type: format.Bytes, Place: benchmarkPlace}
	want := seal.Want{Use: format.UseCache, Place: benchmarkPlace}
	return func() error {
		sealed, err := s.Seal(nil, request, value)
		if err != nil {
			return err
		}
		_, err = s.Open(nil, sealed, want)
		return err
	}
}
