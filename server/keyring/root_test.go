package keyring

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

func localKEK(t *testing.T, master string) kms.KEK {
	kek, err := kms.Open(t.Context(), "base64key://"+master)
	require.NoError(t, err)
	return kek
}

// The vectors' slots of the local KMS yield their roots, and altered slots their errors.
func TestVectorSlotsOfTheLocalKMS(t *testing.T) {
	t.Parallel()
	unwrapped := 0
	for _, v := range vectors.LoadDocuments().Documents {
		d, err := envelope.ParseDocument(v.Bytes)
		require.NoError(t, err)
		for i, s := range v.Slots {
			if s.Secret == nil || s.Secret.Kind != "kms" {
				continue
			}
			kek := localKEK(t, s.Secret.Text)
			require.Equal(t, s.URL, kek.URL())
			root, err := unwrapRoot(t.Context(), kek, d, &d.Slots[i])
			require.NoError(t, err)
			require.Equal(t, []byte(s.Root), root.Append(nil))
			unwrapped++
		}
	}
	require.Positive(t, unwrapped)
	refused := 0
	for _, v := range vectors.LoadDocuments().Unlocks {
		if v.Secret.Kind != "kms" {
			continue
		}
		d, err := envelope.ParseDocument(v.Bytes)
		require.NoError(t, err)
		_, err = ringOver(t, keystoretest.NewMemory(), localKEK(t, v.Secret.Text)).unwrapRoots(t.Context(), d, nil)
		require.Equal(t, v.Code, codes.Of(err).Code, v.Name)
		refused++
	}
	require.Positive(t, refused)
}

// unbound is a KMS that does not authenticate additional data, like RSA.
type unbound struct{ kms.KEK }

func (u unbound) Wrap(ctx context.Context, key, _ []byte) ([]byte, error) {
	return u.KEK.Wrap(ctx, key, nil)
}

func (u unbound) Unwrap(ctx context.Context, wrapped, _ []byte) ([]byte, error) {
	return u.KEK.Unwrap(ctx, wrapped, nil)
}

// The binding inside the wrapped bytes binds a root to its tenant and environment if the KMS does not.
func TestRootIsBoundWithoutTheKMS(t *testing.T) {
	t.Parallel()
	kek := unbound{localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}
	d, root := &envelope.Document{Environment: "prod", Owner: "a"}, secret.New()
	slot, err := wrapRoot(t.Context(), kek, d, d.NextRoot(root.ID(), random16()), root)
	require.NoError(t, err)
	require.NoError(t, d.AddSlot(slot))
	got, err := unwrapRoot(t.Context(), kek, d, &d.Slots[0])
	require.NoError(t, err)
	require.Equal(t, root.ID(), got.ID())
	for _, other := range []envelope.Document{{Environment: "dev", Owner: "a"}, {Environment: "prod", Owner: "b"}} {
		_, err := unwrapRoot(t.Context(), kek, &other, &d.Slots[0])
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	}
}

// The file has neither the root nor a data key. The search finds a key that was planted.
func TestOnlyWrappedKeysAtRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := Open(dir, localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), "test")
	require.NoError(t, err)
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	for _, class := range classify.All {
		_, err := tenant.Primary(t.Context(), format.UseCache, class)
		require.NoError(t, err)
	}
	var secrets [][]byte
	for _, one := range tenant.openedRoots() {
		secrets = append(secrets, one.key.Append(nil))
	}
	for _, key := range tenant.state.Load().keys {
		secrets = append(secrets, key.Append(nil))
	}
	require.Len(t, secrets, 6)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "planted"), secrets[0], 0o600))
	files, found := 0, 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		for _, s := range secrets {
			if bytes.Contains(content, s) {
				require.Equal(t, "planted", entry.Name())
				found++
			}
		}
		return err
	}))
	require.Equal(t, 1, found)
	require.Equal(t, 2, files)
}
