package session_test

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// The key and name that are derived from an id match the vectors, for all kinds of owners.
func TestDerivationMatchesVectors(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	names := map[string]bool{}
	for _, v := range vectors.LoadRules().Sessions {
		t.Run(v.Name, func(t *testing.T) {
			require.False(t, names[v.StoredAs], "no two owners share a name")
			names[v.StoredAs] = true
			service, err := seal.NewService(v.MasterKey)
			require.NoError(t, err)
			pkg, err := service.Sealer().Seal(t.Context(), nil, seal.Request{
				Use: format.UseCache, Class: classify.Confidential, Type: format.Bytes, Place: placeOf(v),
			}, []byte("planted"))
			require.NoError(t, err)
			require.NoError(t, kv.Set(t.Context(), store, kv.Prefix(v.Owner, "session")+v.StoredAs, pkg, time.Minute))
			got, err := session.New(store, v.Owner).Get(t.Context(), v.ID, discardRecord)
			require.NoError(t, err)
			require.Equal(t, "planted", string(got.Data))
		})
	}
}

func placeOf(v vectors.Session) format.Place {
	return format.Place{Owner: v.Owner, Collection: "session", Name: v.StoredAs, Named: true}
}

// A session of the owner "a" does not open for the owner "a" followed by U+0000. HMAC pads its keys with zeros, so both
// owners would have the same key if the owner were HKDF's salt.
func TestOwnersDoNotShareSessions(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	id, _, err := session.New(store, "a").Create(t.Context(), []byte("data"), time.Minute, discardRecord)
	require.NoError(t, err)
	keys, _, err := store.Scan(t.Context(), "", "", 0)
	require.NoError(t, err)
	pkg, _, err := kv.Get(t.Context(), store, keys[0])
	require.NoError(t, err)
	name := strings.TrimPrefix(keys[0], kv.Prefix("a", "session"))
	require.NoError(t, kv.Set(t.Context(), store, kv.Prefix("a\x00", "session")+name, pkg, time.Minute))
	_, err = session.New(store, "a\x00").Get(t.Context(), id, discardRecord)
	require.ErrorIs(t, err, session.ErrNotFound)
}

// deriveBySpec derives the key and name according to section 4.7, with the standard library only.
func deriveBySpec(t *testing.T, id []byte, owner string) (masterKey []byte, name string) {
	t.Helper()
	info := func(label string) string { return label + "\x00" + string(rune(len(owner))) + owner }
	masterKey, err := hkdf.Key(sha256.New, id, nil, info("coffer/v1 session key"), 32)
	require.NoError(t, err)
	named, err := hkdf.Key(sha256.New, id, nil, info("coffer/v1 session name"), 32)
	require.NoError(t, err)
	hash := sha256.Sum256(named)
	return masterKey, hex.EncodeToString(hash[:])
}

// An implementation that follows only the specification finds and opens a session.
func TestSessionOpensBySpecAlone(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	text, _, err := session.New(store, "clinic-7").Create(t.Context(), []byte("data"), time.Minute, discardRecord)
	require.NoError(t, err)
	id, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	masterKey, name := deriveBySpec(t, id, "clinic-7")
	pkg, ok, err := kv.Get(t.Context(), store, "coffer/clinic-7/session/"+name)
	require.NoError(t, err)
	require.True(t, ok)

	service, err := seal.NewService(masterKey)
	require.NoError(t, err)
	place := format.Place{Owner: "clinic-7", Collection: "session", Name: name, Named: true}
	o, err := service.Sealer().Open(t.Context(), nil, pkg, place, envelope.OpenPolicy{Use: format.UseCache})
	require.NoError(t, err)
	require.Equal(t, "data", string(o.Value))
	require.Equal(t, format.FromMasterKey, o.Header.Source)
	require.Equal(t, classify.Confidential, classify.Class(o.Header.Class))
	require.Equal(t, format.Bytes, o.Header.Type)
	require.Empty(t, o.Context().Map())
}
