package jsonform_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// sample returns a package with every member that a package can have.
func sample(t testing.TB) format.Package {
	t.Helper()
	context, err := format.NewContext(map[string]string{"patient": "P12345", "<&>": "\u2028\x00😀", "__proto__": "constructor"})
	require.NoError(t, err)
	h := format.Header{
		Algorithm: format.AES256GCM, Use: format.UseService, Source: format.FromPassphrase, Class: 5, Type: format.Text,
		EncryptedAt: 1736942400000, Revision: format.MaxRevision, Iterations: 600_000, Context: context,
	}
	copy(h.KeyID[:], bytes.Repeat([]byte{0xAB}, 32))
	copy(h.Salt[:], bytes.Repeat([]byte{0xFE}, 16))
	return format.Package{Header: h, Body: []byte("nonce-12byteciphertext-tag-16-or-more")}
}

func TestMarshalWritesDocumentedShape(t *testing.T) {
	text, err := jsonform.Marshal(sample(t))
	require.NoError(t, err)
	require.Equal(t, `{"ciphertext":"Y2lwaGVydGV4dC10YWctMTYtb3ItbW9yZQ==","metadata":{"version":"1.0","algorithm":"AES-256-GCM",`+
		`"keyId":"`+strings.Repeat("ab", 32)+`","iv":"bm9uY2UtMTJieXRl","salt":"/v7+/v7+/v7+/v7+/v7+/g==",`+
		`"classification":"phi","encryptedAt":"2025-01-15T12:00:00.000Z","context":{"<&>":"\u2028\u0000😀","__proto__":"constructor",`+
		`"patient":"P12345"},"use":"service","valueType":"text","keySource":"passphrase","revision":9007199254740991,`+
		`"iterations":600000}}`, string(text))
}

func TestMarshalRoundTrip(t *testing.T) {
	plain := sample(t)
	plain.Header.Source, plain.Header.Iterations, plain.Header.Context = format.FromKeyset, 0, format.Context{}
	public, tombstone, chunked := plain, plain, plain
	public.Header.Algorithm, public.Header.Class = format.Public, 1
	tombstone.Header.Flags, tombstone.Header.Type = format.Tombstone|format.SealedContext, format.Bytes
	chunked.Header.Algorithm, chunked.Body = format.Chunked, bytes.Repeat([]byte{7}, 24+32+16)
	for _, p := range []format.Package{sample(t), plain, public, tombstone, chunked} {
		text, err := jsonform.Marshal(p)
		require.NoError(t, err)
		got, err := jsonform.Unmarshal(text)
		require.NoError(t, err)
		require.Equal(t, p, got)

		ciphertext, m, err := jsonform.Split(p)
		require.NoError(t, err)
		joined, err := jsonform.Join(ciphertext, m)
		require.NoError(t, err)
		require.Equal(t, p, joined)
	}
}

func TestMarshalRefusesInvalidPackages(t *testing.T) {
	p := sample(t)
	p.Header.Iterations = 0
	_, err := jsonform.Marshal(p)
	require.ErrorIs(t, err, format.ErrInvalid)
	p = sample(t)
	p.Body = p.Body[:27]
	_, err = jsonform.Marshal(p)
	require.ErrorIs(t, err, format.ErrMalformed)
	_, err = jsonform.Join(nil, jsonform.Metadata{})
	require.ErrorIs(t, err, format.ErrMalformed)
	_, m, err := jsonform.Split(sample(t))
	require.NoError(t, err)
	_, err = jsonform.Join(make([]byte, 15), m)
	require.ErrorIs(t, err, format.ErrMalformed)
	m.Version = "1.1"
	_, err = jsonform.Join(make([]byte, 16), m)
	require.ErrorIs(t, err, format.ErrUnsupportedVersion)
}

// edited returns the sample's JSON form with from, which must occur, replaced by to.
func edited(t testing.TB, from, to string) []byte {
	t.Helper()
	text, err := jsonform.Marshal(sample(t))
	require.NoError(t, err)
	require.Contains(t, string(text), from)
	return []byte(strings.Replace(string(text), from, to, 1))
}

// Unmarshal accepts and refuses the texts of the vectors.
func TestUnmarshalAgreesWithVectors(t *testing.T) {
	for _, v := range vectors.LoadInvalid().JSON {
		_, err := jsonform.Unmarshal(slices.Concat([]byte(v.Text), v.Hex))
		require.Equal(t, v.Code, codes.Of(err).Code, v.Name)
	}
	for _, v := range vectors.LoadVariants() {
		p, err := jsonform.Unmarshal([]byte(v.Text))
		require.NoError(t, err, v.Name)
		binary, err := p.Append(nil)
		require.NoError(t, err)
		require.Equal(t, []byte(v.Package), binary, v.Name)
	}
}

func TestUnmarshalDecodesEscapes(t *testing.T) {
	got, err := jsonform.Unmarshal(edited(t, `"P12345"`, `"\ufffd\\\/\b\f\n\r\t\""`))
	require.NoError(t, err)
	v, _ := got.Header.Context.Get("patient")
	require.Equal(t, "\ufffd\\/\b\f\n\r\t\"", v)
	got, err = jsonform.Unmarshal(edited(t, `"revision":9007199254740991`, `"revision":-0`))
	require.NoError(t, err)
	require.Zero(t, got.Header.Revision)
}

func TestUnmarshalEnforcesContextLimits(t *testing.T) {
	entries := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":"",`, i)
		}
		return b.String()
	}
	got, err := jsonform.Unmarshal(edited(t, `"context":{`, `"context":{`+entries(61)))
	require.NoError(t, err)
	require.Len(t, got.Header.Context.Map(), 64)
	for _, more := range []string{entries(62), entries(10_000), `"long":"` + strings.Repeat("x", format.MaxContext) + `",`} {
		_, err = jsonform.Unmarshal(edited(t, `"context":{`, `"context":{`+more))
		require.ErrorIs(t, err, format.ErrMalformed)
	}
}

func TestMetadataUnmarshalsAlone(t *testing.T) {
	_, m, err := jsonform.Split(sample(t))
	require.NoError(t, err)
	text, err := json.Marshal(m)
	require.NoError(t, err)
	var got jsonform.Metadata
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, m, got)
	require.ErrorIs(t, json.Unmarshal(bytes.Replace(text, []byte("keyId"), []byte("keyid"), 1), &got), format.ErrMalformed)
	require.ErrorIs(t, json.Unmarshal([]byte("null"), &got), format.ErrMalformed)
	require.ErrorIs(t, got.UnmarshalJSON([]byte(`{"version"`)), format.ErrMalformed)
}

func TestDecodeBase64IsStrict(t *testing.T) {
	b, err := jsonform.DecodeBase64([]byte("/v4="))
	require.NoError(t, err)
	require.Equal(t, []byte{0xFE, 0xFE}, b)
	for _, text := range []string{"/v4", "_v4=", "/v5=", "/v4=\n", "/v\r\n\r\n4=", "====", "A==="} {
		_, err := jsonform.DecodeBase64([]byte(text))
		require.ErrorIs(t, err, format.ErrMalformed, text)
	}
}

// Hostile texts cost memory in proportion to their length, not to the number of members or the depth of nesting.
func TestUnmarshalAllocatesInProportionToInput(t *testing.T) {
	var many strings.Builder
	for i := range 1 << 16 {
		fmt.Fprintf(&many, `"%d":0,`, i)
	}
	for name, text := range map[string]string{
		"members":      `{` + many.String() + `"":0}`,
		"context":      `{"metadata":{"version":"1.0","context":{` + many.String() + `"":""}}}`,
		"nesting":      `{"metadata":` + strings.Repeat("[", 1<<19),
		"long version": `{"metadata":{"version":"` + strings.Repeat("x", 1<<19) + `"}}`,
		"long number":  `{"metadata":{"version":"1.0","revision":` + strings.Repeat("9", 1<<19) + `}}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := jsonform.Unmarshal([]byte(text))
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4*len(text)+1<<16), name)
	}
}
