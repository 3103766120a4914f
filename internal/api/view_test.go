package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// A typed array that was sealed by another program opens as bytes with its element type.
func TestDecryptReturnsElementTypeOfViews(t *testing.T) {
	s := start(t, embedded(t), nil)
	tenant, err := s.ring.Tenant(t.Context(), "default")
	require.NoError(t, err)
	pkg, err := seal.NewSealer(tenant).Seal(t.Context(), nil, seal.Request{
		Use: format.UseService, Class: classify.PHI, Type: format.View, Element: format.ElementFloat32,
		Flags: format.Padded,
	}, []byte{0, 0, 0x80, 0x3f})
	require.NoError(t, err)
	p, err := format.Parse(pkg)
	require.NoError(t, err)
	text, err := jsonform.Marshal(p)
	require.NoError(t, err)
	answer := s.do("POST", "/v1/decrypt", text, "Content-Type", "application/json").is(t, 200)
	require.Contains(t, string(answer.body), `"data":"AACAPw==","valueType":"view","elementType":"Float32Array"`)
}
