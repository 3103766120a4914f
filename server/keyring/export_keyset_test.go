package keyring_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

var masterKey = bytes.Repeat([]byte{1, 2, 3, 4}, 8)

// The tenant and the holder of an exported keyset open each other's packages. The holder opens no other package of
// the tenant.
func TestExportedKeysetHasOnlyItsUses(t *testing.T) {
	tenant := tenantOf(t, openRing(t, t.TempDir()), "tenant")
	hidden := sealed(t, tenant, classify.PHI) // of the use cache
	for _, c := range []struct {
		kind       envelope.SlotKind
		seal, open keyring.Secret
	}{
		{envelope.SlotPassword, keyring.Password("p\u00e4ssword"), keyring.Password("pa\u0308ssword")},
		{envelope.SlotMasterKey, keyring.MasterKey(masterKey), keyring.MasterKey(masterKey)},
	} {
		document, err := tenant.ExportKeyset(t.Context(), c.seal)
		require.NoError(t, err)
		d, err := envelope.ParseDocument(document)
		require.NoError(t, err)
		require.Len(t, d.Slots, 1)
		require.Equal(t, c.kind, d.Slots[0].Kind)
		require.Equal(t, []any{"tenant", "test"}, []any{d.Owner, d.Environment})
		require.Nil(t, d.Keyset(format.UseCache, classify.PHI))

		vault, err := keyring.OpenVault(document, c.open)
		require.NoError(t, err)
		require.Equal(t, []any{"tenant", "test"}, []any{vault.Owner(), vault.Environment()})
		for _, use := range []format.Use{format.UseStorage, format.UseService} {
			for _, class := range classify.All {
				for _, pair := range [][2]seal.Keys{{tenant, vault}, {vault, tenant}} {
					r := request(class)
					r.Use = use
					pkg, err := seal.NewSealer(pair[0]).Seal(t.Context(), nil, r, []byte("value"))
					require.NoError(t, err)
					_, err = seal.NewSealer(pair[1]).Open(t.Context(), nil, pkg, format.Place{}, envelope.OpenPolicy{Use: use, MinClass: class})
					require.NoError(t, err)
				}
			}
		}
		_, err = seal.NewSealer(vault).Open(t.Context(), nil, hidden, format.Place{}, envelope.OpenPolicy{Use: format.UseCache})
		require.ErrorIs(t, err, envelope.ErrUnknownKey)
		_, err = seal.NewSealer(vault).Seal(t.Context(), nil, request(classify.PHI), nil)
		require.ErrorIs(t, err, envelope.ErrKeyUnusable)
		for _, wrong := range []keyring.Secret{keyring.Password("another"), keyring.MasterKey(make([]byte, 32)), {}} {
			_, err = keyring.OpenVault(document, wrong)
			require.ErrorIs(t, err, envelope.ErrWrongSecret)
		}
	}
}

func TestExportKeysetOfOneUse(t *testing.T) {
	tenant := tenantOf(t, openRing(t, t.TempDir()), "tenant")
	document, err := tenant.ExportKeyset(t.Context(), keyring.MasterKey(masterKey), format.UseCache)
	require.NoError(t, err)
	vault, err := keyring.OpenVault(document, keyring.MasterKey(masterKey))
	require.NoError(t, err)
	opens(t, vault, sealed(t, tenant, classify.PHI))
	_, err = vault.Primary(t.Context(), format.UseStorage, classify.PHI)
	require.ErrorIs(t, err, envelope.ErrKeyUnusable)
}

func TestExportKeysetRefusesInvalidArguments(t *testing.T) {
	tenant := tenantOf(t, openRing(t, t.TempDir()), "tenant")
	for _, c := range []struct {
		secret keyring.Secret
		uses   []format.Use
		err    error
	}{
		{keyring.Password(""), nil, secret.ErrPassword},
		{keyring.Password("\xff"), nil, secret.ErrPassword},
		{keyring.MasterKey(make([]byte, 31)), nil, secret.ErrMasterKey},
		{keyring.Secret{}, nil, envelope.ErrWrongSecret},
		{keyring.Password("password").WithIterations(classify.MaxIterations + 1), nil, classify.ErrIterations},
		{keyring.Password("password"), []format.Use{9}, envelope.ErrInvalid},
	} {
		_, err := tenant.ExportKeyset(t.Context(), c.secret, c.uses...)
		require.ErrorIs(t, err, c.err)
	}
}

func TestExportKeysetRaisesIterations(t *testing.T) {
	tenant := tenantOf(t, openRing(t, t.TempDir()), "tenant")
	document, err := tenant.ExportKeyset(t.Context(), keyring.Password("password").WithIterations(1))
	require.NoError(t, err)
	d, err := envelope.ParseDocument(document)
	require.NoError(t, err)
	require.EqualValues(t, classify.MinWriteIterations, d.Slots[0].Iterations)
}

func TestNewVaultDocumentOpens(t *testing.T) {
	document, err := keyring.NewVaultDocument("dev", "vault-1", keyring.MasterKey(masterKey))
	require.NoError(t, err)
	vault, err := keyring.OpenVault(document, keyring.MasterKey(masterKey))
	require.NoError(t, err)
	pkg, err := seal.NewKeysetService(vault).Encrypt(t.Context(), []byte("value"), classify.PHI, nil)
	require.NoError(t, err)
	again, err := keyring.OpenVault(document, keyring.MasterKey(masterKey))
	require.NoError(t, err)
	_, err = seal.NewKeysetService(again).Decrypt(t.Context(), pkg)
	require.NoError(t, err)
	_, err = keyring.NewVaultDocument("dev", "", keyring.MasterKey(masterKey))
	require.ErrorIs(t, err, envelope.ErrInvalid)
}

func vectorSecret(t *testing.T, s *vectors.Secret) keyring.Secret {
	t.Helper()
	if s.Kind != "master-key" {
		return keyring.Password(s.Text)
	}
	key, err := secret.ParseMasterKey(s.Text)
	require.NoError(t, err)
	return keyring.MasterKey(key)
}

// The documents of the vectors open with each of their secrets, and have the keys of the vectors.
func TestVectorDocuments(t *testing.T) {
	opened := 0
	for _, v := range vectors.LoadDocuments().Documents {
		for _, s := range v.Slots {
			if s.Secret == nil || s.Secret.Kind == "kms" {
				continue
			}
			vault, err := keyring.OpenVault(v.Bytes, vectorSecret(t, s.Secret))
			require.NoError(t, err, v.Name)
			require.Equal(t, v.Owner, vault.Owner())
			opened++
			opens := map[string]bool{}
			for _, other := range v.Slots {
				opens[string(other.RootID)] = opens[string(other.RootID)] || other.Secret != nil && *other.Secret == *s.Secret
			}
			for _, set := range v.Keysets {
				if primary, err := vault.Primary(t.Context(), format.Use(set.Use), classify.Class(set.Class)); err == nil {
					_, err := vault.MessageCipher(t.Context(), primary, format.Salt{})
					require.NoError(t, err, v.Name+": a key that seals is one that opened")
				} else {
					require.False(t, set.Seals && v.Name == "foreign root")
				}
				for _, k := range set.Keys {
					_, err := vault.MessageCipher(t.Context(), format.KeyID(k.ID), format.Salt{})
					if k.Key != nil && opens[string(k.RootID)] {
						require.NoError(t, err, v.Name)
					} else {
						require.ErrorIs(t, err, envelope.ErrUnknownKey, v.Name)
					}
				}
			}
		}
	}
	require.Greater(t, opened, 5)
}

func TestVectorRefusals(t *testing.T) {
	for _, v := range vectors.LoadDocuments().Unlocks {
		if v.Secret.Kind == "kms" || v.ShredKey != nil || v.Environment != "" {
			continue // TestVectorSlotsOfTheLocalKMS has it; the secret of a slot does not verify shred records, and has no environment
		}
		t.Run(v.Name, func(t *testing.T) {
			_, err := keyring.OpenVault(v.Bytes, vectorSecret(t, &v.Secret))
			require.Equal(t, v.Code, codes.Of(err).Code)
		})
	}
	for _, v := range vectors.LoadDocuments().Invalid {
		_, err := keyring.OpenVault(v.Bytes.Bytes(), keyring.Password("password"))
		require.Equal(t, v.Code, codes.Of(err).Code, v.Name)
	}
}
