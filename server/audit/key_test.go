package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
)

func TestKeyIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	hashes, a := make([]string, 8), kek(t, "A")
	var wg sync.WaitGroup
	for i := range hashes { // several processes start at once
		wg.Go(func() {
			if key, err := audit.OpenKey(t.Context(), path, a); err == nil {
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

	_, err = audit.OpenKey(t.Context(), path, kek(t, "E"))
	require.ErrorIs(t, err, audit.ErrNoSlot)
}

// The file alone is of no use: it does not contain the key, as bytes or as text.
func TestKeyIsWrapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	wraps := &watched{KEK: kek(t, "A")}
	_, err := audit.OpenKey(t.Context(), path, wraps)
	require.NoError(t, err)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, wraps.secret, 32)
	for _, form := range []string{"%s", "%x"} {
		require.NotContains(t, string(file), fmt.Sprintf(form, wraps.secret))
	}
	var head struct{ Format string }
	require.NoError(t, json.Unmarshal(file, &head))
	require.Equal(t, "coffer audit key", head.Format)
}

// watched remembers what it wrapped.
type watched struct {
	kms.KEK
	secret []byte
}

func (w *watched) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	w.secret = append([]byte{}, key...)
	return w.KEK.Wrap(ctx, key, additionalData)
}

// While the KEK changes both open the key, and then the new one alone; also where both have one URL, as passphrases do.
func TestRewrapKey(t *testing.T) {
	one, err := kms.FromMasterKey("one passphrase", classify.WriteFloor)
	require.NoError(t, err)
	two, err := kms.FromMasterKey("another passphrase", classify.WriteFloor)
	require.NoError(t, err)
	for _, pair := range [][2]kms.KEK{{kek(t, "A"), kek(t, "E")}, {one, two}} {
		from, to := pair[0], pair[1]
		path := filepath.Join(t.TempDir(), "audit.key")
		require.NoError(t, audit.RewrapKey(t.Context(), path, from, to), "none is there, and none is made")
		first, err := audit.OpenKey(t.Context(), path, from)
		require.NoError(t, err)
		require.Error(t, audit.RetireKey(t.Context(), path, to), "it does not open it yet")
		for range 2 {
			require.NoError(t, audit.RewrapKey(t.Context(), path, from, to))
		}
		for _, kek := range pair {
			key, err := audit.OpenKey(t.Context(), path, kek)
			require.NoError(t, err)
			require.Equal(t, first.HashName("a", "b"), key.HashName("a", "b"))
		}
		require.NoError(t, audit.RetireKey(t.Context(), path, to))
		_, err = audit.OpenKey(t.Context(), path, from)
		require.Error(t, err)
		_, err = audit.OpenKey(t.Context(), path, to)
		require.NoError(t, err)
	}
}

// A key takes no more slots than its file may have. A file with more of them would not read again.
func TestKeyIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	former := kek(t, "A")
	first, err := audit.OpenKey(t.Context(), path, former)
	require.NoError(t, err)
	for _, letter := range "IMQUYcg" { // the slots 2 to 8
		next := kek(t, string(letter))
		require.NoError(t, audit.RewrapKey(t.Context(), path, former, next))
		former = next
	}
	require.ErrorIs(t, audit.RewrapKey(t.Context(), path, former, kek(t, "E")), audit.ErrKeyFull)
	for range 2 {
		key, err := audit.ReadKey(t.Context(), path, kek(t, "A"))
		require.NoError(t, err)
		require.Equal(t, first.HashName("a", "b"), key.HashName("a", "b"))
		require.NoError(t, audit.RewrapKey(t.Context(), path, former, former), "a new version of the same KEK takes the place of its slot")
	}
	require.NoError(t, audit.RetireKey(t.Context(), path, former))
	require.NoError(t, audit.RewrapKey(t.Context(), path, former, kek(t, "E")))
}

func TestDamagedKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	_, err := audit.OpenKey(t.Context(), path, kek(t, "A"))
	require.NoError(t, err)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, content := range []string{
		"", "short", strings.Repeat("k", 32), "{}", strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		`{"format":"coffer audit key","version":1,"slots":[]}`,
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := audit.OpenKey(t.Context(), path, kek(t, "A"))
		require.ErrorIs(t, err, audit.ErrKey, content)
	}
	altered := strings.Replace(string(good), `"wrapped":"`, `"wrapped":"AAAA`, 1)
	require.NoError(t, os.WriteFile(path, []byte(altered), 0o600))
	_, err = audit.OpenKey(t.Context(), path, kek(t, "A"))
	require.Error(t, err)
	_, err = audit.OpenKey(t.Context(), filepath.Join(path, "none"), kek(t, "A"))
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
		require.Equal(t, "[secret]", fmt.Sprintf(verb, *key))
		require.Equal(t, "[secret]", fmt.Sprintf(verb, key))
	}
	text, err := key.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "[secret]", string(text))
}

// TestLogGone: if the key is gone and a part of the log is left, or a head is gone, the next start fails and makes no
// key.
func TestLogGone(t *testing.T) {
	for name, c := range map[string]struct {
		gone []string
		want error
	}{
		"chains":        {[]string{"audit/chains"}, audit.ErrHead},
		"chain":         {[]string{"audit/1"}, audit.ErrHead},
		"head":          {[]string{"audit/1/head"}, audit.ErrHead},
		"key":           {[]string{"audit.key"}, audit.ErrKeyGone},
		"key and heads": {[]string{"audit.key", "audit/chains", "audit/1/head"}, audit.ErrKeyGone},
		"key and chain": {[]string{"audit.key", "audit/1"}, audit.ErrKeyGone},
		"all":           {[]string{"audit.key", "audit"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit")
			f := open(t, path, audit.Options{})
			require.NoError(t, f.Record(t.Context(), use(1)))
			require.NoError(t, f.Close())
			for _, file := range c.gone {
				require.NoError(t, os.RemoveAll(filepath.Join(filepath.Dir(path), file)))
			}
			for range 2 {
				key, err := audit.OpenKey(t.Context(), path+".key", kek(t, "A"))
				if err == nil {
					f, err = audit.Open(path, key, audit.Options{})
				}
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
