package format_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// The names are part of the JSON form, so they must not change.
func TestNamesOfFieldValues(t *testing.T) {
	checkNames(t, format.ParseAlgorithm, map[format.Algorithm]string{
		format.AES256GCM: "AES-256-GCM", format.Public: "AES-256-GMAC", format.Chunked: "Cobblestone-256",
	})
	checkNames(t, format.ParseUse, map[format.Use]string{
		format.UseStorage: "storage", format.UseCache: "cache", format.UseService: "service", format.UseField: "field",
		format.UseFile: "file",
	})
	checkNames(t, format.ParseSource, map[format.Source]string{
		format.FromKeyset: "keyset", format.FromPassphrase: "passphrase", format.FromMasterKey: "master-key",
	})
	checkNames(t, format.ParseValueType, map[format.ValueType]string{
		format.Text: "text", format.Bytes: "bytes", format.Buffer: "buffer", format.JSON: "json", format.Blob: "blob",
		format.File: "file", format.View: "view",
	})
}

func checkNames[T interface {
	~uint8
	String() string
}](t *testing.T, parse func(string) (T, error), names map[T]string) {
	t.Helper()
	for v := range 256 {
		value := T(v)
		name, ok := names[value]
		if !ok {
			require.Equal(t, "unknown", value.String())
			continue
		}
		require.Equal(t, name, value.String())
		got, err := parse(name)
		require.NoError(t, err)
		require.Equal(t, value, got)
	}
	for _, name := range []string{"", "unknown", "TEXT", "Storage", "text ", "AES-128-GCM"} {
		got, err := parse(name)
		require.ErrorIs(t, err, format.ErrMalformed, name)
		require.Zero(t, got)
	}
}

func TestErrorTextsBeginWithCoffer(t *testing.T) {
	for _, err := range []error{format.ErrMalformed, format.ErrUnsupportedVersion, format.ErrInvalid, format.ErrTooLarge} {
		require.Regexp(t, "^coffer: ", err.Error())
	}
}
