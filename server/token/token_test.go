package token_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/token"
	"github.com/coffer-storage/coffer/shared/codes"
)

func TestFirstAndSecondStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "token.json")
	f := token.Open(path)
	require.ErrorIs(t, f.Verify("coffer_none"), token.ErrUnauthorized, "no file: nobody may")

	first, err := f.CreateFirst()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(first, token.Prefix))
	random, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(first, token.Prefix))
	require.NoError(t, err)
	require.Len(t, random, 32)
	require.NoError(t, f.Verify(first))

	again := token.Open(path)
	second, err := again.CreateFirst()
	require.NoError(t, err)
	require.Empty(t, second, "made once")
	require.NoError(t, again.Verify(first))
}

func TestOnlyTheHashIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.json")
	made, err := token.Open(path).Create()
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(content), strings.TrimPrefix(made, token.Prefix))
	hash := sha256.Sum256([]byte(made))
	require.Contains(t, string(content), hex.EncodeToString(hash[:]))

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 1, "no temporary file stays")
}

func TestWrongTokens(t *testing.T) {
	f := token.Open(filepath.Join(t.TempDir(), "token.json"))
	made, err := f.Create()
	require.NoError(t, err)
	for _, wrong := range []string{"", " ", token.Prefix, made[:len(made)-1], made + "x", " " + made, strings.ToUpper(made), made[len(token.Prefix):]} {
		require.ErrorIs(t, f.Verify(wrong), token.ErrUnauthorized)
	}
	require.Equal(t, "unauthorized", codes.Of(f.Verify("x")).Code)
}

// TestReplacedElsewhere: another process replaces the token; the former one ends without a miss before it.
func TestReplacedElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.json")
	f := token.Open(path)
	old, err := f.Create()
	require.NoError(t, err)
	for range 20 {
		require.NoError(t, f.Verify(old))
		fresh, err := token.Open(path).Create()
		require.NoError(t, err)
		require.ErrorIs(t, f.Verify(old), token.ErrUnauthorized)
		require.NoError(t, f.Verify(fresh))
		old = fresh
	}
	require.NoError(t, os.Remove(path))
	require.ErrorIs(t, f.Verify(old), token.ErrUnauthorized, "a removed file revokes")
}

func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.json")
	for _, content := range []string{"", "{", "null", `{"sha256":""}`, `{"sha256":"` + strings.Repeat("z", 64) + `"}`,
		`{"sha256":"` + strings.Repeat("a", 66) + `"}`, strings.Repeat(" ", 1<<20)} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		f := token.Open(path)
		_, err := f.CreateFirst()
		require.ErrorIs(t, err, token.ErrDamaged)
		require.ErrorIs(t, f.Verify(""), token.ErrDamaged, "a damaged file opens to nobody")

		made, err := f.Create()
		require.NoError(t, err)
		require.NoError(t, f.Verify(made), "a new token repairs it")
	}
}

func TestUnwritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := token.Open(filepath.Join(path, "token.json")).Create()
	require.Error(t, err)
}

// TestConcurrentFirstStarts: of several servers that start in one directory, one prints a token, and it holds.
func TestConcurrentFirstStarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.json")
	made := make([]string, 16)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			first, err := token.Open(path).CreateFirst()
			if err == nil {
				made[i] = first
			}
		})
	}
	wg.Wait()
	one := strings.Join(made, "")
	require.Len(t, one, len(token.Prefix)+43)
	require.NoError(t, token.Open(path).Verify(one))
}
