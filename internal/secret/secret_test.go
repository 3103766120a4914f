package secret_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// planted is a secret whose bytes are easy to search for.
func planted(t *testing.T) *secret.Key {
	k, err := secret.FromBytes([]byte(strings.Repeat("PLANTED!", 4)))
	require.NoError(t, err)
	return k
}

func TestFromBytes(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		_, err := secret.FromBytes(make([]byte, n))
		require.ErrorIs(t, err, format.ErrInvalid)
		_, err = secret.FromMasterKey(make([]byte, n))
		require.ErrorIs(t, err, secret.ErrMasterKey)
	}
	k := planted(t)
	require.Equal(t, "PLANTED!", string(k.Append(nil)[:8]))
	k.Clear()
	require.Equal(t, make([]byte, 32), k.Append(nil))
	require.NotEqual(t, secret.New().ID(), secret.New().ID())
}

// No verb, log handler or encoder shows a secret, in text, hexadecimal, decimal or base64.
func TestNeverPrinted(t *testing.T) {
	k := planted(t)
	password, err := secret.NewPassword("PLANTED!")
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "p", k, "v", *k, "w", password, "x", *password)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "p", k, "v", *k, "in", struct{ K *secret.Key }{k})
	text, err := json.Marshal(map[string]any{"p": k, "v": *k, "w": password})
	require.NoError(t, err)
	shown := log.String() + string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		shown += fmt.Sprintf(strings.Repeat(verb, 5), k, *k, struct{ K secret.Key }{*k}, password, *password)
	}
	for _, trace := range []string{"PLANTED", "504c414e", "504C414E", "80 76 65", "UExBTlRF", "0x50, 0x4c"} {
		require.NotContains(t, shown, trace)
	}
	require.Contains(t, shown, "[secret]")
}

// Every label yields another key, and the id commits to the key.
func TestDerivationsDiffer(t *testing.T) {
	k := planted(t)
	seen := map[string]string{}
	for _, label := range []string{
		format.LabelKeyID, format.LabelMessageKey, format.LabelFileKey, format.LabelMasterKey, envelope.LabelWrappingKey, envelope.LabelRecordMAC, envelope.LabelBackup,
	} {
		b, err := secret.HKDF(k.Append(nil), nil, label, format.KeySize)
		require.NoError(t, err)
		require.NotContains(t, seen, string(b), label)
		seen[string(b)] = label
	}
	id := k.ID()
	require.Equal(t, format.LabelKeyID, seen[string(id[:])])
	master, err := secret.FromMasterKey(k.Append(nil))
	require.NoError(t, err)
	require.Equal(t, format.LabelMasterKey, seen[string(master.Append(nil))])
}

func TestMAC(t *testing.T) {
	k := planted(t)
	derived, err := secret.HKDF(k.Append(nil), nil, envelope.LabelRecordMAC, format.KeySize)
	require.NoError(t, err)
	want := hmac.New(sha256.New, derived)
	want.Write([]byte("message"))
	got := k.MAC(envelope.LabelRecordMAC)
	got.Write([]byte("message"))
	require.Equal(t, want.Sum(nil), got.Sum(nil))
}

func TestMessageCipher(t *testing.T) {
	k := planted(t)
	a, err := k.MessageCipher(format.Salt{1})
	require.NoError(t, err)
	b, err := k.MessageCipher(format.Salt{2})
	require.NoError(t, err)
	sealed := a.Seal(nil, nil, []byte("value"), nil)
	require.Len(t, sealed, format.NonceSize+len("value")+format.TagSize)
	_, err = b.Open(nil, nil, sealed, nil)
	require.Error(t, err)
	plain, err := a.Open(nil, nil, sealed, nil)
	require.NoError(t, err)
	require.Equal(t, "value", string(plain))
}

func TestWrap(t *testing.T) {
	root, dek := secret.New(), secret.New()
	place := envelope.Binding{Environment: "prod", Owner: "t", Use: format.UseCache, Class: 5, ID: dek.ID()}
	wrapped, err := root.Wrap(dek, place)
	require.NoError(t, err)
	require.Len(t, wrapped, envelope.WrappedSize)
	got, err := root.Unwrap(wrapped, place)
	require.NoError(t, err)
	require.Equal(t, dek.Append(nil), got.Append(nil))

	elsewhere := map[string]envelope.Binding{
		"environment": {Environment: "dev", Owner: "t", Use: format.UseCache, Class: 5, ID: dek.ID()},
		"owner":       {Environment: "prod", Owner: "u", Use: format.UseCache, Class: 5, ID: dek.ID()},
		"use":         {Environment: "prod", Owner: "t", Use: format.UseField, Class: 5, ID: dek.ID()},
		"class":       {Environment: "prod", Owner: "t", Use: format.UseCache, Class: 4, ID: dek.ID()},
		"id":          {Environment: "prod", Owner: "t", Use: format.UseCache, Class: 5, ID: root.ID()},
	}
	for name, b := range elsewhere {
		_, err := root.Unwrap(wrapped, b)
		require.ErrorIs(t, err, envelope.ErrAuthentication, name)
	}
	for i := range wrapped {
		altered := bytes.Clone(wrapped)
		altered[i] ^= 1
		_, err := root.Unwrap(altered, place)
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	}
	for _, n := range []int{0, 1, 27, 28, 59} {
		_, err := root.Unwrap(wrapped[:n], place)
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	}
	_, err = secret.New().Unwrap(wrapped, place)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
}

// A key that was wrapped honestly under a false id is refused, and so is one of another length.
func TestUnwrapChecksTheCommitment(t *testing.T) {
	root, dek := secret.New(), secret.New()
	place := envelope.Binding{Owner: "t", ID: secret.New().ID()}
	wrapped, err := root.Wrap(dek, place)
	require.NoError(t, err)
	_, err = root.Unwrap(wrapped, place)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
	short, err := root.SealBytes(make([]byte, 16), place.Append(nil))
	require.NoError(t, err)
	_, err = root.Unwrap(short, place)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
}

func TestPassword(t *testing.T) {
	const n = 1000
	stretch := func(text string, salt format.Salt, n uint32) *secret.Key {
		p, err := secret.NewPassword(text)
		require.NoError(t, err)
		k, err := p.Key(salt, n)
		require.NoError(t, err)
		return k
	}
	composed := stretch("p\u00e4sse", format.Salt{1}, n)
	require.Equal(t, composed.ID(), stretch("pa\u0308sse", format.Salt{1}, n).ID())
	for _, other := range []struct {
		text string
		salt format.Salt
		n    uint32
	}{{"passe", format.Salt{1}, n}, {"p\u00e4sse", format.Salt{2}, n}, {"p\u00e4sse", format.Salt{1}, n + 1}} {
		require.NotEqual(t, composed.ID(), stretch(other.text, other.salt, other.n).ID())
	}
	for _, text := range []string{"", "\xff", "a\xed\xa0\x80"} {
		_, err := secret.NewPassword(text)
		require.ErrorIs(t, err, secret.ErrPassword)
	}
}

func TestParseMasterKeyTakesPaddedBase64Only(t *testing.T) {
	raw := bytes.Repeat([]byte{0xFB, 0xEF}, 16)
	text := base64.StdEncoding.EncodeToString(raw)
	parsed, err := secret.ParseMasterKey(text)
	require.NoError(t, err)
	require.Equal(t, raw, parsed)
	for name, wrong := range map[string]string{
		"empty": "", "a passphrase": "correct horse battery staple", "URL-safe": base64.URLEncoding.EncodeToString(raw),
		"unpadded": base64.RawStdEncoding.EncodeToString(raw), "31 bytes": base64.StdEncoding.EncodeToString(raw[:31]),
		"33 bytes": base64.StdEncoding.EncodeToString(append(raw, 1)), "trailing bits": text[:42] + "/=",
		"newlines": text[:40] + "\n\n\n\n", "44 letters": strings.Repeat("a", 44),
	} {
		_, err := secret.ParseMasterKey(wrong)
		require.ErrorIs(t, err, secret.ErrMasterKey, name)
	}
}

func TestIterations(t *testing.T) {
	for wish, want := range map[uint32]uint32{0: classify.MinWriteIterations, 100_000: classify.MinWriteIterations, 700_000: 700_000} {
		n, err := secret.Iterations(wish)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	_, err := secret.Iterations(classify.MaxIterations + 1)
	require.ErrorIs(t, err, classify.ErrIterations)
}
