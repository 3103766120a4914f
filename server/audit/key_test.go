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

// Different inputs have different hashes: the kind, the tenant and the boundaries between the parts all count.
func TestHashesDependOnKindTenantAndParts(t *testing.T) {
	key := newKey(t)
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

// Hashes that are computed concurrently equal those that are computed one by one.
func TestConcurrentHashesAreRight(t *testing.T) {
	key := newKey(t)
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
					t.Error("a concurrent hash differs")
				}
			}
		})
	}
	wg.Wait()
}

func TestKeyIsNeverPrinted(t *testing.T) {
	key := newKey(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		require.Equal(t, "[secret]", fmt.Sprintf(verb, key))
	}
}

// A keyring clears the keys that it drops. The log must continue to work.
func TestNewKeyCopiesSecret(t *testing.T) {
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

func TestReadKeyIDReturnsKeyOfLog(t *testing.T) {
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
	_, err = audit.Open(path, newKey(t), audit.Options{})
	require.ErrorIs(t, err, audit.ErrHead, "another key")
	require.NoError(t, os.WriteFile(filepath.Join(path, "chains"), []byte("{}\n"), 0o600))
	_, used, err = audit.ReadKeyID(path)
	require.ErrorIs(t, err, audit.ErrHead)
	require.True(t, used)
}

// If a head or the list of chains is missing, Open fails and creates nothing.
func TestOpenRefusesLogWithMissingParts(t *testing.T) {
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
			require.NoError(t, f.Record(t.Context(), useEvent(1)))
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
