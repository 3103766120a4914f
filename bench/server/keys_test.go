package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// BenchmarkKeys compares a tenant's keys from a keyring, which expire, are counted and are reloaded after changes by other
// processes, with keys in memory. The ratio shows the cost of key management.
func BenchmarkKeys(b *testing.B) {
	ours, raw := newSealer(b), seal.NewSealer(newVault(b))
	request := seal.Request{Use: format.UseCache, Class: classify.PHI, Type: format.Bytes, Place: place}
	value := newValue(1 << 10)
	sealing := func(s *seal.Sealer) run {
		return each(func() error {
			_, err := s.Seal(b.Context(), nil, request, value)
			return err
		})
	}
	opening := func(s *seal.Sealer) run {
		pkg, err := s.Seal(b.Context(), nil, request, value)
		require.NoError(b, err)
		return each(func() error {
			_, err := s.Open(b.Context(), nil, pkg, place, envelope.OpenPolicy{Use: format.UseCache})
			return err
		})
	}
	b.Run("Seal", func(b *testing.B) { compare(b, sealing(raw), sealing(ours)) })
	b.Run("Open", func(b *testing.B) { compare(b, opening(raw), opening(ours)) })
}

func newVault(b *testing.B) *keyring.Vault {
	secret := keyring.MasterKey(make([]byte, format.KeySize))
	document, err := keyring.NewVaultDocument("bench", tenant, secret, format.UseCache)
	require.NoError(b, err)
	vault, err := keyring.OpenVault(document, secret)
	require.NoError(b, err)
	return vault
}
