package session_test

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv/badgerkv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/server/session"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// specSection is the section of SPEC.md about sessions.
func specSection(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../shared/format/SPEC.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(page), "\n### 4.8 Sessions\n")
	require.True(t, ok)
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// bySpec derives with the page's labels, by the standard library alone.
func bySpec(t *testing.T, id []byte, owner string) (masterKey []byte, name string) {
	t.Helper()
	labels := regexp.MustCompile(`HKDF\(id, owner, "([^"]+)", 32\)`).FindAllStringSubmatch(specSection(t), -1)
	require.Len(t, labels, 2)
	masterKey, err := hkdf.Key(sha256.New, id, []byte(owner), labels[0][1], 32)
	require.NoError(t, err)
	named, err := hkdf.Key(sha256.New, id, []byte(owner), labels[1][1], 32)
	require.NoError(t, err)
	hash := sha256.Sum256(named)
	return masterKey, hex.EncodeToString(hash[:])
}

// The page's example is what its formulas yield.
func TestSpecExample(t *testing.T) {
	values := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z ]+):\n\s+([0-9a-f]{64})$`).FindAllStringSubmatch(specSection(t), -1) {
		values[m[1]] = m[2]
	}
	id, err := hex.DecodeString(values["id"])
	require.NoError(t, err)
	masterKey, name := bySpec(t, id, "clinic-7")
	require.Equal(t, map[string]string{"id": values["id"], "master key": hex.EncodeToString(masterKey), "name": name}, values)
}

// What a manager stores is found and opened by the page alone.
func TestSpecOpensSessions(t *testing.T) {
	store, err := badgerkv.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	text, _, err := session.New(store, "clinic-7").Create(t.Context(), []byte("data"), time.Minute, quiet)
	require.NoError(t, err)
	id, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	masterKey, name := bySpec(t, id, "clinic-7")
	pkg, ok, err := store.Get(t.Context(), "coffer/clinic-7/session/"+name)
	require.NoError(t, err)
	require.True(t, ok)

	service, err := seal.NewService(base64.StdEncoding.EncodeToString(masterKey))
	require.NoError(t, err)
	place := format.Place{Owner: "clinic-7", Collection: "session", Name: name, Named: true}
	o, err := service.Sealer().Open(nil, pkg, seal.Want{Use: format.UseCache, Place: place})
	require.NoError(t, err)
	require.Equal(t, "data", string(o.Value))
	require.Equal(t, format.FromMasterKey, o.Header.Source)
	require.Equal(t, classify.Confidential, classify.Class(o.Header.Class))
	require.Equal(t, format.Bytes, o.Header.Type)
	require.Empty(t, o.Context().Map())
}
