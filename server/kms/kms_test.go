package kms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kms/kmstest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

var (
	masterKey = []byte(strings.Repeat("\xfb\xefPLANTED", 4)[:32])
	otherKey  = bytes.Repeat([]byte{1}, 32)
	// the standard and the URL-safe base64 of masterKey differ
	text     = base64.StdEncoding.EncodeToString(masterKey)
	urlText  = base64.URLEncoding.EncodeToString(masterKey)
	planted  = []string{text, urlText, strings.TrimRight(urlText, "="), "PLANTED", fmt.Sprintf("%x", masterKey), "80 76 65 78"}
	password = "a planted passphrase"
)

func open(t testing.TB, url string) kms.KEK {
	kek, err := kms.Open(t.Context(), url)
	require.NoError(t, err)
	return kek
}

func writeKey(t testing.TB, content string, mode os.FileMode) string {
	path := filepath.Join(t.TempDir(), "a key")
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func newLocal(t testing.TB, masterKey []byte) kms.KEK {
	kek, err := kms.NewLocal(masterKey)
	require.NoError(t, err)
	return kek
}

func newPassphrase(t testing.TB, passphrase string) kms.KEK {
	kek, err := kms.NewPassphrase(passphrase, classify.MinWriteIterations)
	require.NoError(t, err)
	return kek
}

func TestKEKsConform(t *testing.T) {
	otherText := base64.StdEncoding.EncodeToString(otherKey)
	t.Run("base64key", func(t *testing.T) {
		kmstest.Run(t, kmstest.Subject{
			Open:    func(t testing.TB) kms.KEK { return open(t, "base64key://"+urlText) },
			Other:   func(t testing.TB) kms.KEK { return open(t, "base64key://"+otherText) },
			Secrets: planted,
		})
	})
	t.Run("file", func(t *testing.T) {
		path, otherPath := writeKey(t, text+"\n", 0o600), writeKey(t, otherText, 0o400)
		kmstest.Run(t, kmstest.Subject{
			Open:    func(t testing.TB) kms.KEK { return open(t, "file://"+strings.ReplaceAll(path, " ", "%20")) },
			Other:   func(t testing.TB) kms.KEK { return open(t, "file://"+strings.ReplaceAll(otherPath, " ", "%20")) },
			Secrets: planted,
		})
	})
	t.Run("master key", func(t *testing.T) {
		kmstest.Run(t, kmstest.Subject{
			Open:    func(t testing.TB) kms.KEK { return newLocal(t, masterKey) },
			Other:   func(t testing.TB) kms.KEK { return newLocal(t, otherKey) },
			Secrets: planted,
		})
	})
	t.Run("passphrase", func(t *testing.T) {
		one, two := newPassphrase(t, password), newPassphrase(t, "another")
		kmstest.Run(t, kmstest.Subject{
			Open:    func(testing.TB) kms.KEK { return one },
			Other:   func(testing.TB) kms.KEK { return two },
			Secrets: []string{password},
		})
	})
}

// A KEK depends on its key only, so a key may move from the environment to a file.
func TestSameKeyIsSameKEK(t *testing.T) {
	path := writeKey(t, urlText, 0o600)
	fromFile, err := kms.OpenFile(path)
	require.NoError(t, err)
	keks := []kms.KEK{open(t, "base64key://"+urlText), open(t, "base64key://"+text), open(t, "base64key://"+strings.TrimRight(urlText, "=")), fromFile, newLocal(t, masterKey)}
	wrapped, err := keks[0].Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	for _, kek := range keks {
		require.Equal(t, keks[0].URL(), kek.URL())
		got, err := kek.Unwrap(t.Context(), wrapped, nil)
		require.NoError(t, err)
		require.Equal(t, "key", string(got))
	}
	require.Regexp(t, "^base64key://[0-9a-f]{16}$", keks[0].URL())
}

func TestOpenRefusesInvalidURLs(t *testing.T) {
	for _, url := range []string{
		"", text, "base64key:" + text, "base64key://", "base64key://" + text[:40], "base64key://" + text + "AAAA", "base64key://" + text + " ",
		"base64key://" + strings.Repeat("é", 22), "awskms://" + text, "FILE://" + text, "file://", "file://relative", "file://host/" + text, "file:///x?" + text,
		"file:///%zz" + text, "file:///nowhere/at/all", "://" + text, "base64key://\x00" + text,
	} {
		t.Run(url, func(t *testing.T) {
			_, err := kms.Open(t.Context(), url)
			require.ErrorIs(t, err, kms.ErrURL, url)
			require.Equal(t, "invalid_argument", codes.Of(err).Code)
			for _, p := range planted {
				require.NotContains(t, err.Error(), p)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := kms.Open(ctx, "base64key://"+text)
	require.ErrorIs(t, err, context.Canceled)
}

// A file that other users may read, or that does not contain a key, is refused with an error that has its path and the
// reason.
func TestOpenFileRefuses(t *testing.T) {
	for _, c := range []struct {
		content string
		mode    os.FileMode
		why     string
	}{
		{text, 0o644, "chmod 600"}, {text, 0o640, "chmod 600"}, {text, 0o604, "chmod 600"}, {text, 0o610, "chmod 600"},
		{"", 0o600, "32 bytes in base64"}, {text[:40], 0o600, "32 bytes in base64"}, {"not base64 PLANTED", 0o600, "32 bytes in base64"},
		{text + text, 0o600, "32 bytes in base64"}, {strings.Repeat(text, 1000), 0o600, "32 bytes in base64"},
	} {
		t.Run(fmt.Sprintf("%o, %d bytes", c.mode, len(c.content)), func(t *testing.T) {
			path := writeKey(t, c.content, c.mode)
			_, err := kms.OpenFile(path)
			require.ErrorIs(t, err, kms.ErrURL)
			require.ErrorContains(t, err, c.why)
			require.ErrorContains(t, err, path)
			require.NotContains(t, err.Error(), "PLANTED")
			require.NotContains(t, err.Error(), text[:20])
		})
	}
	_, err := kms.OpenFile(t.TempDir())
	require.ErrorIs(t, err, kms.ErrURL)
}

func TestCreateFileReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")
	require.NoError(t, kms.CreateFile(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	first, err := kms.OpenFile(path)
	require.NoError(t, err)

	require.ErrorIs(t, kms.CreateFile(path), fs.ErrExist)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after, "a key is never replaced")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")

	otherPath := filepath.Join(dir, "other.key")
	require.NoError(t, kms.CreateFile(otherPath))
	second, err := kms.OpenFile(otherPath)
	require.NoError(t, err)
	require.NotEqual(t, first.URL(), second.URL())
	require.Error(t, kms.CreateFile(filepath.Join(dir, "missing", "key")))
}

func TestNewLocalRefusesOtherLengths(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 44} {
		_, err := kms.NewLocal(make([]byte, n))
		require.ErrorIs(t, err, secret.ErrMasterKey)
		require.ErrorContains(t, err, "passphrase")
	}
}

func TestNewPassphraseRefuses(t *testing.T) {
	_, err := kms.NewPassphrase("", classify.MinWriteIterations)
	require.ErrorIs(t, err, secret.ErrPassword)
	_, err = kms.NewPassphrase("x", classify.MaxIterations+1)
	require.ErrorIs(t, err, classify.ErrIterations)
}

// Two processes with the same passphrase have different salts, and unwrap each other's keys. A wrapped key whose
// iterations are out of bounds is refused before any derivation.
func TestPassphraseUnwrapsKeysOfOtherProcesses(t *testing.T) {
	a, b := newPassphrase(t, password), newPassphrase(t, password)
	first, err := a.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	second, err := b.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	require.NotEqual(t, first[:16], second[:16])
	got, err := b.Unwrap(t.Context(), first, nil)
	require.NoError(t, err)
	require.Equal(t, "key", string(got))
	_, err = newPassphrase(t, "another").Unwrap(t.Context(), first, nil)
	require.ErrorIs(t, err, envelope.ErrWrongSecret)
	for _, n := range [][]byte{{0, 0, 0, 1}, {0xFF, 0xFF, 0xFF, 0xFF}} {
		altered := append(append(bytes.Clone(first[:16]), n...), first[20:]...)
		_, err = b.Unwrap(t.Context(), altered, nil)
		require.ErrorIs(t, err, classify.ErrIterations)
	}
}
