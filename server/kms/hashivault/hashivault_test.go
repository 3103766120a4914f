package hashivault_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/kmspeers"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kms/hashivault"
	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

func open(t testing.TB, peer *kmspeers.Vault, url string) kms.KEK {
	kek, err := kms.Open(t.Context(), url, hashivault.Provider(hashivault.Settings{Address: peer.URL, Token: peer.Token}))
	require.NoError(t, err)
	return kek
}

func TestVaultConforms(t *testing.T) {
	t.Parallel()
	kmstest.RunRemote(t, func(t testing.TB) (kmstest.Subject, kmstest.Peer) {
		peer := kmspeers.NewVault(t)
		return kmstest.Subject{
			Open:    func(t testing.TB) kms.KEK { return open(t, peer, "hashivault://"+kmspeers.VaultKey) },
			Other:   func(t testing.TB) kms.KEK { return open(t, peer, "hashivault://other-key") },
			Secrets: []string{"PLANTED"},
		}, peer
	})
}

// Wrapped keys of version 1 must always unwrap, so the associated data never changes (server/kms/SPEC.md section 3).
func TestAssociatedDataHasIdentityAndBinding(t *testing.T) {
	peer := kmspeers.NewVault(t)
	kek := open(t, peer, "hashivault://"+kmspeers.VaultKey)
	wrapped, err := kek.Wrap(t.Context(), []byte("key"), []byte("binding"))
	require.NoError(t, err)
	identity := kms.Identity(wrapped)
	require.Regexp(t, `^v1@[0-9]+$`, identity)
	want := string([]byte{0, byte(len(identity))}) + identity + "binding"
	require.Equal(t, want, string(peer.Bound()))
	_, err = kek.Unwrap(t.Context(), wrapped, []byte("binding"))
	require.NoError(t, err)
	require.Equal(t, want, string(peer.Bound()))
	require.Equal(t, string([]byte{1, 0, byte(len(identity))})+identity+"vault:v1:", string(wrapped[:3+len(identity)+9]))
}

// A key of another mount is another key. After a rotation in Vault, keys are wrapped with the new version, and wrapped
// keys of the former version unwrap.
func TestMountAndRotation(t *testing.T) {
	peer := kmspeers.NewVault(t)
	kek, elsewhere := open(t, peer, "hashivault://"+kmspeers.VaultKey), open(t, peer, "hashivault://"+kmspeers.VaultKey+"?mount=other/transit")
	wrapped, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	_, err = elsewhere.Unwrap(t.Context(), wrapped, nil)
	require.ErrorIs(t, err, kms.ErrRecreated)
	peer.Rotate()
	again, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(kms.Identity(wrapped), "v1@") && strings.HasPrefix(kms.Identity(again), "v2@"))
	for _, w := range [][]byte{wrapped, again} {
		got, err := kek.Unwrap(t.Context(), w, nil)
		require.NoError(t, err)
		require.Equal(t, "key", string(got))
	}
	require.Equal(t, "hashivault://coffer-key?mount=other%2Ftransit", elsewhere.URL())
	require.Equal(t, elsewhere.URL(), open(t, peer, elsewhere.URL()).URL(), "a URL opens what it names")
}

func TestInvalidURLsAreRefused(t *testing.T) {
	provider := hashivault.Provider(hashivault.Settings{Token: "PLANTED"})
	for _, url := range []string{
		"hashivault://", "hashivault://key/path", "hashivault://key?mount=", "hashivault://key?mount=../sys", "hashivault://key?token=PLANTED",
		"hashivault://user:PLANTED@key", "hashivault://key#x", "hashivault://key:80", "hashivault:key", "hashivault://" + strings.Repeat("k", 2000),
	} {
		t.Run(url, func(t *testing.T) {
			_, err := kms.Open(t.Context(), url, provider)
			require.ErrorIs(t, err, kms.ErrURL, url)
			require.NotContains(t, err.Error(), "PLANTED")
		})
	}
	_, err := kms.Open(t.Context(), "awskms://key", provider)
	require.ErrorContains(t, err, "use one of base64key://, file://, hashivault://")
}

// An address to which the token would be sent in the clear is refused, unless it is this host.
func TestAddresses(t *testing.T) {
	open := func(address string) error {
		_, err := kms.Open(t.Context(), "hashivault://key", hashivault.Provider(hashivault.Settings{Address: address, Token: "PLANTED"}))
		return err
	}
	for _, address := range []string{"https://vault.example.test:8200", "http://127.0.0.1:8200", "http://127.1.2.3", "http://localhost:8200", "http://[::1]:8200", "unix:///run/vault"} {
		t.Run(address, func(t *testing.T) {
			require.NoError(t, open(address), address)
		})
	}
	for _, address := range []string{
		"http://vault.example.test:8200", "http://10.0.0.1:8200", "http://localhost.example.test", "http://0.0.0.0:8200", "vault:8200", "https://", "ftp://localhost",
		"https://user:PLANTED@vault.example.test", "https://PLANTED%zz",
	} {
		t.Run(address, func(t *testing.T) {
			err := open(address)
			require.ErrorIs(t, err, kms.ErrSettings, address)
			require.ErrorContains(t, err, "VAULT_ADDR")
			require.NotContains(t, err.Error(), "PLANTED")
			t.Setenv("VAULT_ADDR", address)
			require.ErrorIs(t, open(""), kms.ErrSettings, address)
		})
	}
	t.Setenv("VAULT_ADDR", "https://vault.example.test:8200")
	require.NoError(t, open(""))
	t.Setenv("VAULT_AGENT_ADDR", "http://agent.example.test")
	require.ErrorIs(t, open(""), kms.ErrSettings)
}
