package jsonform_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// FuzzUnmarshal checks that a text that is accepted has one binary encoding, and that Marshal writes an equivalent text.
func FuzzUnmarshal(f *testing.F) {
	seeds := 0
	for _, v := range vectors.LoadVariants() {
		f.Add([]byte(v.Text))
		seeds++
	}
	for _, v := range vectors.LoadPackages() {
		if v.Package.SHA256 == nil {
			f.Add([]byte(v.JSON))
			seeds++
		}
	}
	for _, v := range vectors.LoadInvalid().JSON {
		f.Add(append([]byte(v.Text), v.Hex...))
		seeds++
	}
	require.NotZero(f, seeds)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := jsonform.Unmarshal(text)
		if err != nil {
			return
		}
		again, err := jsonform.Marshal(p)
		require.NoError(t, err)
		q, err := jsonform.Unmarshal(again)
		require.NoError(t, err)
		require.Equal(t, p, q)
		binary, err := p.Append(nil)
		require.NoError(t, err)
		parsed, err := format.Parse(binary)
		require.NoError(t, err)
		require.Equal(t, p, parsed)
	})
}

// FuzzMarshal checks that every binary package has a JSON form that converts back.
func FuzzMarshal(f *testing.F) {
	seeds := 0
	for _, v := range vectors.LoadPackages() {
		if binary := v.Package.Bytes(); binary != nil {
			f.Add(binary)
			seeds++
		}
	}
	require.NotZero(f, seeds)
	f.Fuzz(func(t *testing.T, binary []byte) {
		p, err := format.Parse(binary)
		if err != nil {
			return
		}
		text, err := jsonform.Marshal(p)
		require.NoError(t, err)
		q, err := jsonform.Unmarshal(text)
		require.NoError(t, err)
		again, err := q.Append(nil)
		require.NoError(t, err)
		require.Equal(t, binary, again)
	})
}
