package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
)

// Different things never have one hash: the kind, the tenant and the bounds between the parts count.
func TestHashesAreApart(t *testing.T) {
	key := openKey(t)
	seen := map[string]bool{}
	for _, hash := range []string{
		key.HashName("a", "b"), key.HashName("b", "a"), key.HashName("ab", ""), key.HashName("", "ab"), key.HashTenant("a"),
		key.HashContext("a", "b", ""), key.HashContext("a", "", "b"), key.HashContext("", "a", "b"), key.HashContext("c", "a", "b"),
	} {
		require.False(t, seen[hash])
		seen[hash] = true
	}
	require.Equal(t, key.HashName("a", "b"), key.HashName("a", "b"))
}

// Hashes that are made at the same time are what each is alone.
func TestHashesAtOnce(t *testing.T) {
	key := openKey(t)
	want := map[string]string{}
	for i := range 50 {
		name := strings.Repeat("n", 7*i)
		want[name] = key.HashName("clinic", name)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for name, hash := range want {
				if key.HashName("clinic", name) != hash {
					t.Error("another hash")
				}
			}
		})
	}
	wg.Wait()
}

func TestKeyIsNeverShown(t *testing.T) {
	key := openKey(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		require.Equal(t, "[secret]", fmt.Sprintf(verb, key))
	}
}

// TestKeyIsCopied: a keyring clears keys that it drops, and the log goes on.
func TestKeyIsCopied(t *testing.T) {
	raw := secret.New()
	key := audit.NewKey(raw)
	hash := key.HashName("a", "b")
	raw.Clear()
	path := filepath.Join(t.TempDir(), "audit")
	f, err := audit.Open(path, key, audit.Options{})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, hash, key.HashName("a", "b"))
}

// TestKeyID: a log names its key, whoever asks.
func TestKeyID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	_, used, err := audit.ReadKeyID(path)
	require.NoError(t, err)
	require.False(t, used)
	raw := secret.New()
	f, err := audit.Open(path, audit.NewKey(raw), audit.Options{})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	id, used, err := audit.ReadKeyID(path)
	require.NoError(t, err)
	require.True(t, used)
	require.Equal(t, raw.ID(), id)
	_, err = audit.Open(path, openKey(t), audit.Options{})
	require.ErrorIs(t, err, audit.ErrHead, "another key")
	require.NoError(t, os.WriteFile(filepath.Join(path, "chains"), []byte("{}\n"), 0o600))
	_, used, err = audit.ReadKeyID(path)
	require.ErrorIs(t, err, audit.ErrHead)
	require.True(t, used)
}

// TestLogGone: if a head or the list is gone, the next start fails and makes none.
func TestLogGone(t *testing.T) {
	for name, c := range map[string]struct {
		gone string
		want error
	}{
		"chains": {"audit/chains", audit.ErrHead}, "chain": {"audit/1", audit.ErrHead}, "head": {"audit/1/head", audit.ErrHead},
		"all": {"audit", nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit")
			f := open(t, path, audit.Options{})
			require.NoError(t, f.Record(t.Context(), use(1)))
			require.NoError(t, f.Close())
			require.NoError(t, os.RemoveAll(filepath.Join(filepath.Dir(path), c.gone)))
			for range 2 {
				f, err := audit.Open(path, keyOf(t, path), audit.Options{})
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
					continue
				}
				require.NoError(t, err)
				require.NoError(t, f.Close())
			}
		})
	}
}
