package audit_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

func TestKeyIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	hashes := make([]string, 8)
	var wg sync.WaitGroup
	for i := range hashes { // several processes start at once
		wg.Go(func() {
			if key, err := audit.OpenKey(path); err == nil {
				hashes[i] = key.HashName("a", "b")
			}
		})
	}
	wg.Wait()
	for _, hash := range hashes {
		require.Len(t, hash, 32)
		require.Equal(t, hashes[0], hash)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	require.NotEqual(t, hashes[0], openKey(t).HashName("a", "b"), "another key, another hash")
}

func TestDamagedKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	for _, content := range []string{"", "short", "longer than the thirty-two bytes that a key has"} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := audit.OpenKey(path)
		require.Error(t, err)
	}
	_, err := audit.OpenKey(filepath.Join(path, "none"))
	require.Error(t, err)
}

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

func TestKeyIsNeverShown(t *testing.T) {
	key := openKey(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		require.Equal(t, "[secret]", fmt.Sprintf(verb, *key))
		require.Equal(t, "[secret]", fmt.Sprintf(verb, key))
	}
	text, err := key.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "[secret]", string(text))
}
