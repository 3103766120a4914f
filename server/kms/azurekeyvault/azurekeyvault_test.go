package azurekeyvault_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/kmspeers"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kms/azurekeyvault"
	"github.com/coffer-storage/coffer/server/kms/kmstest"
	"github.com/coffer-storage/coffer/shared/envelope"
)

func TestMain(m *testing.M) { kmspeers.Main(m) }

var settings = azurekeyvault.Settings{TenantID: kmspeers.AzureTenant, ClientID: kmspeers.AzureClient, ClientSecret: kmspeers.AzureSecret}

func open(t testing.TB, peer *kmspeers.Azure, key string) kms.KEK {
	kek, err := kms.Open(t.Context(), "azurekeyvault://"+peer.Host+"/keys/"+key, azurekeyvault.Provider(settings))
	require.NoError(t, err)
	return kek
}

func TestKeyVaultConforms(t *testing.T) {
	kmstest.RunRemote(t, func(t testing.TB) (kmstest.Subject, kmstest.Peer) {
		peer := kmspeers.NewAzure(t)
		return kmstest.Subject{
			Open:    func(t testing.TB) kms.KEK { return open(t, peer, kmspeers.AzureKey) },
			Other:   func(t testing.TB) kms.KEK { return open(t, peer, "other-key") },
			Secrets: []string{"PLANTED"},
		}, peer
	})
}

// Anyone can wrap with the public key. A wrapped key without a valid signature is refused, without a call of Key Vault.
func TestForgedWrappedKeyIsRefused(t *testing.T) {
	peer := kmspeers.NewAzure(t)
	kek := open(t, peer, kmspeers.AzureKey)
	additional := []byte("additional data")
	real, err := kek.Wrap(t.Context(), []byte("key"), additional)
	require.NoError(t, err)
	_, err = kek.Unwrap(t.Context(), real, additional)
	require.NoError(t, err)

	version, public := peer.Public()
	inner := secret.New()
	raw := inner.Append(nil)
	chosen, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, raw, nil)
	require.NoError(t, err)
	sealed, err := inner.SealBytes([]byte("a root that an attacker knows"), additional)
	require.NoError(t, err)
	head := append(binary.BigEndian.AppendUint16([]byte{1}, uint16(len(version))), version...)
	copiedSignature := real[len(head)+public.Size():][:public.Size()]
	before := peer.Calls()
	for _, signature := range [][]byte{copiedSignature, make([]byte, public.Size())} {
		forged := append(append(append(append([]byte{}, head...), chosen...), signature...), sealed...)
		got, err := kek.Unwrap(t.Context(), forged, additional)
		require.ErrorIs(t, err, envelope.ErrAuthentication)
		require.Empty(t, got)
	}
	for _, identity := range []string{"..", strings.ToUpper(version), version + "/x"} {
		elsewhere := append(binary.BigEndian.AppendUint16([]byte{1}, uint16(len(identity))), identity...)
		_, err := kek.Unwrap(t.Context(), append(elsewhere, real[len(head):]...), additional)
		require.ErrorIs(t, err, envelope.ErrAuthentication, "an invalid version is not requested")
	}
	require.Equal(t, before, peer.Calls())
}

// Wrapped keys of version 1 must always unwrap (server/kms/SPEC.md section 6). The key in the test data has no other
// use.
func TestWrappedKeyOfVersion1Unwraps(t *testing.T) {
	content, err := os.ReadFile("testdata/wrapped.json")
	require.NoError(t, err)
	var old struct {
		Version, Binding, Key string
		P, Q, Wrapped         []byte
	}
	require.NoError(t, json.Unmarshal(content, &old))
	peer := kmspeers.NewAzure(t)
	peer.Import(old.Version, privateKey(t, old.P, old.Q))
	got, err := open(t, peer, kmspeers.AzureKey).Unwrap(t.Context(), old.Wrapped, []byte(old.Binding))
	require.NoError(t, err)
	require.Equal(t, old.Key, string(got))
}

// privateKey returns the RSA key of two primes, with the exponent 65537.
func privateKey(t *testing.T, p, q []byte) *rsa.PrivateKey {
	one, e := big.NewInt(1), big.NewInt(65537)
	k := &rsa.PrivateKey{Primes: []*big.Int{new(big.Int).SetBytes(p), new(big.Int).SetBytes(q)}}
	k.E, k.N = 65537, new(big.Int).Mul(k.Primes[0], k.Primes[1])
	k.D = new(big.Int).ModInverse(e, new(big.Int).Mul(new(big.Int).Sub(k.Primes[0], one), new(big.Int).Sub(k.Primes[1], one)))
	k.Precompute()
	require.NoError(t, k.Validate())
	return k
}

// After a rotation in Key Vault, keys are wrapped with the new version, and wrapped keys of the former version unwrap.
// A URL with a version wraps with that version.
func TestVersionsAfterRotation(t *testing.T) {
	peer := kmspeers.NewAzure(t)
	kek := open(t, peer, kmspeers.AzureKey)
	first, _ := peer.Public()
	old, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	peer.Rotate()
	second, _ := peer.Public()
	fresh, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	pinned := open(t, peer, kmspeers.AzureKey+"/"+first)
	third, err := pinned.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	require.Equal(t, []string{first, second, first}, []string{kms.Identity(old), kms.Identity(fresh), kms.Identity(third)})
	for _, wrapped := range [][]byte{old, fresh, third} {
		for _, kek := range []kms.KEK{kek, pinned} {
			got, err := kek.Unwrap(t.Context(), wrapped, nil)
			require.NoError(t, err)
			require.Equal(t, "key", string(got))
		}
	}
	require.Equal(t, "azurekeyvault://"+peer.Host+"/keys/"+kmspeers.AzureKey+"/"+first, pinned.URL())
}

func TestDeletedKeyIsGone(t *testing.T) {
	peer := kmspeers.NewAzure(t)
	kek := open(t, peer, kmspeers.AzureKey)
	wrapped, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	peer.Delete()
	_, err = kek.Unwrap(t.Context(), wrapped, nil)
	require.ErrorIs(t, err, kms.ErrKeyGone)
	require.NotErrorIs(t, err, kms.ErrRecreated)
	_, err = kek.Wrap(t.Context(), []byte("key"), nil)
	require.ErrorIs(t, err, kms.ErrKeyGone)
}

// Credentials that Entra refuses are ErrDenied, without a retry and without the credentials in the error.
func TestWrongClientSecretIsDenied(t *testing.T) {
	peer := kmspeers.NewAzure(t)
	wrong := settings
	wrong.ClientSecret = "PLANTED-wrong"
	kek, err := kms.Open(t.Context(), "azurekeyvault://"+peer.Host+"/keys/"+kmspeers.AzureKey, azurekeyvault.Provider(wrong))
	require.NoError(t, err)
	_, err = kek.Wrap(t.Context(), []byte("key"), nil)
	require.ErrorIs(t, err, kms.ErrDenied)
	require.ErrorContains(t, err, "check AZURE_TENANT_ID")
	require.NotContains(t, err.Error(), "PLANTED")
	require.Equal(t, 1, peer.Calls())
}

func TestMissingCredentialsAreDenied(t *testing.T) {
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "WorkloadIdentityCredential")
	peer := kmspeers.NewAzure(t)
	kek, err := kms.Open(t.Context(), "azurekeyvault://"+peer.Host+"/keys/"+kmspeers.AzureKey, azurekeyvault.Provider(azurekeyvault.Settings{}))
	require.NoError(t, err)
	_, err = kek.Wrap(t.Context(), []byte("key"), nil)
	require.ErrorIs(t, err, kms.ErrDenied)
	require.ErrorContains(t, err, "no credentials")
}

func TestInvalidURLsAreRefused(t *testing.T) {
	for _, url := range []string{
		"azurekeyvault://", "azurekeyvault://v.vault.azure.net/keys/k", "azurekeyvault://vault.vault.azure.net", "azurekeyvault://vault.vault.azure.net/secrets/k",
		"azurekeyvault://vault.vault.azure.net/keys/", "azurekeyvault://vault.vault.azure.net/keys/k/latest", "azurekeyvault://vault.vault.azure.net/keys/k?x=PLANTED",
		"azurekeyvault://vault.example.com/keys/k", "azurekeyvault://vault.vault.azure.net.example.com/keys/k", "azurekeyvault://192.0.2.1:443/keys/k",
		"azurekeyvault://localhost:443/keys/k", "azurekeyvault://vault.vault.azure.net:444/keys/k", "azurekeyvault://vault.vault.azure.net/keys/a%2fb",
		"azurekeyvault://a:PLANTED@vault.vault.azure.net/keys/k",
	} {
		t.Run(url, func(t *testing.T) {
			_, err := kms.Open(t.Context(), url, azurekeyvault.Provider(settings))
			require.ErrorIs(t, err, kms.ErrURL, url)
			require.NotContains(t, err.Error(), "PLANTED")
		})
	}
	for _, bad := range []azurekeyvault.Settings{{ClientSecret: "PLANTED"}, {TenantID: "no tenant", ClientID: "c", ClientSecret: "PLANTED"}} {
		_, err := kms.Open(t.Context(), "azurekeyvault://vault.vault.azure.net/keys/k", azurekeyvault.Provider(bad))
		require.ErrorIs(t, err, kms.ErrSettings)
		require.NotContains(t, err.Error(), "PLANTED")
	}
	kek, err := kms.Open(t.Context(), "azurekeyvault://Vault.vault.azure.net/keys/k", azurekeyvault.Provider(settings))
	require.NoError(t, err)
	require.Equal(t, "azurekeyvault://vault.vault.azure.net/keys/k", kek.URL())
	require.False(t, strings.Contains(kek.URL(), "PLANTED"))
}
