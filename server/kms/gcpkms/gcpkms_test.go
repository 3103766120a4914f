package gcpkms_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/kmspeers"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kms/gcpkms"
	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

func TestMain(m *testing.M) { kmspeers.Main(m) }

func open(t testing.TB, peer *kmspeers.Google, key string) kms.KEK {
	provider := gcpkms.Provider(gcpkms.Settings{CredentialsFile: peer.Credentials(t)})
	kek, err := kms.Open(t.Context(), "gcpkms://"+key+"?endpoint="+peer.Endpoint, provider)
	require.NoError(t, err)
	return kek
}

func TestCloudKMSConforms(t *testing.T) {
	kmstest.RunRemote(t, func(t testing.TB) (kmstest.Subject, kmstest.Peer) {
		peer := kmspeers.NewGoogle(t)
		return kmstest.Subject{
			Open:    func(t testing.TB) kms.KEK { return open(t, peer, kmspeers.GoogleKey) },
			Other:   func(t testing.TB) kms.KEK { return open(t, peer, kmspeers.GoogleOther) },
			Secrets: []string{"PLANTED"},
		}, peer
	})
}

// Wrapped keys of version 1 must always unwrap, so the additional data never changes (server/kms/SPEC.md section 3).
func TestAdditionalDataIsTheBinding(t *testing.T) {
	peer := kmspeers.NewGoogle(t)
	kek := open(t, peer, kmspeers.GoogleKey)
	wrapped, err := kek.Wrap(t.Context(), []byte("key"), []byte("binding"))
	require.NoError(t, err)
	require.Equal(t, "binding", string(peer.Bound()))
	_, err = kek.Unwrap(t.Context(), wrapped, []byte("binding"))
	require.NoError(t, err)
	require.Equal(t, "binding", string(peer.Bound()))
}

// After a rotation in Cloud KMS, keys are wrapped with the new version, and wrapped keys of the former version unwrap.
func TestVersionsAfterRotation(t *testing.T) {
	peer := kmspeers.NewGoogle(t)
	kek := open(t, peer, kmspeers.GoogleKey)
	old, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	peer.Rotate()
	fresh, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	require.Equal(t, kmspeers.GoogleKey+"/cryptoKeyVersions/1", kms.Identity(old))
	require.Equal(t, kmspeers.GoogleKey+"/cryptoKeyVersions/2", kms.Identity(fresh))
	for _, wrapped := range [][]byte{old, fresh} {
		got, err := kek.Unwrap(t.Context(), wrapped, nil)
		require.NoError(t, err)
		require.Equal(t, "key", string(got))
	}
	require.Equal(t, "gcpkms://"+kmspeers.GoogleKey, kek.URL())
}

// If all versions are destroyed, the error is ErrKeyGone and not ErrRecreated.
func TestDestroyedKeyIsGone(t *testing.T) {
	peer := kmspeers.NewGoogle(t)
	kek := open(t, peer, kmspeers.GoogleKey)
	wrapped, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	peer.Destroy()
	_, err = kek.Unwrap(t.Context(), wrapped, nil)
	require.ErrorIs(t, err, kms.ErrKeyGone)
	require.NotErrorIs(t, err, kms.ErrRecreated)
	_, err = open(t, peer, strings.ReplaceAll(kmspeers.GoogleKey, "coffer-key", "missing")).Wrap(t.Context(), []byte("key"), nil)
	require.ErrorIs(t, err, kms.ErrKeyGone)
}

// A disabled former version is ErrKeyGone and not ErrRecreated, since it can be enabled again.
func TestDisabledFormerVersionIsGone(t *testing.T) {
	peer := kmspeers.NewGoogle(t)
	kek := open(t, peer, kmspeers.GoogleKey)
	wrapped, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	peer.Disable()
	peer.Rotate()
	_, err = kek.Unwrap(t.Context(), wrapped, nil)
	require.ErrorIs(t, err, kms.ErrKeyGone)
}

// A key that another key wrapped is refused without a call of Cloud KMS.
func TestWrappedKeyOfAnotherKeyIsRefused(t *testing.T) {
	peer := kmspeers.NewGoogle(t)
	wrapped, err := open(t, peer, kmspeers.GoogleOther).Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	before := peer.Calls()
	_, err = open(t, peer, kmspeers.GoogleKey).Unwrap(t.Context(), wrapped, nil)
	require.ErrorIs(t, err, kms.ErrWrongKey)
	require.Equal(t, before, peer.Calls())
}

// A request or an answer that changed in transit is detected and retried.
func TestChecksumErrorsAreRetried(t *testing.T) {
	peer := kmspeers.NewGoogle(t)
	kek := open(t, peer, kmspeers.GoogleKey)
	for _, damage := range [][2]int{{1, 0}, {0, 1}} {
		peer.Corrupt(damage[0], damage[1])
		before := peer.Calls()
		wrapped, err := kek.Wrap(t.Context(), []byte("key"), nil)
		require.NoError(t, err)
		require.Equal(t, before+2, peer.Calls())
		peer.Corrupt(0, 1)
		got, err := kek.Unwrap(t.Context(), wrapped, nil)
		require.NoError(t, err)
		require.Equal(t, "key", string(got))
		require.Equal(t, before+4, peer.Calls())
	}
}

func TestInvalidURLsAreRefused(t *testing.T) {
	peer := kmspeers.NewGoogle(t)
	provider := gcpkms.Provider(gcpkms.Settings{CredentialsFile: peer.Credentials(t)})
	good := "gcpkms://" + kmspeers.GoogleKey
	for _, url := range []string{
		"gcpkms://", "gcpkms://project/x", strings.Replace(good, "projects", "project", 1), good + "/cryptoKeyVersions/1", good + "/", good + "?x=PLANTED",
		good + "?endpoint=", good + "?endpoint=kms.example.com:443", good + "?endpoint=192.0.2.1:443", good + "?endpoint=localhost:443",
		good + "?endpoint=127.0.0.1:1&x=1", strings.Replace(good, "ring", "r%2fing", 1), "gcpkms://a:PLANTED@" + kmspeers.GoogleKey,
	} {
		t.Run(url, func(t *testing.T) {
			_, err := kms.Open(t.Context(), url, provider)
			require.ErrorIs(t, err, kms.ErrURL, url)
			require.NotContains(t, err.Error(), "PLANTED")
		})
	}
}

func TestInvalidCredentialsFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "", "text": "PLANTED", "type": `{"type":"PLANTED"}`, "key": `{"type":"service_account","private_key":"PLANTED","client_email":"a@b"}`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	for _, name := range []string{"empty", "text", "type", "key", "missing", "."} {
		provider := gcpkms.Provider(gcpkms.Settings{CredentialsFile: filepath.Join(dir, name)})
		_, err := kms.Open(t.Context(), "gcpkms://"+kmspeers.GoogleKey, provider)
		require.ErrorIs(t, err, kms.ErrSettings, name)
		require.ErrorContains(t, err, "GOOGLE_APPLICATION_CREDENTIALS")
		require.NotContains(t, err.Error(), "PLANTED")
	}
}
