package kms_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms"
)

// odd is a KEK that is not sound.
type odd struct {
	kms.KEK
	unwrap func(kek kms.KEK, wrapped, additionalData []byte) ([]byte, error)
}

func (o odd) Unwrap(_ context.Context, wrapped, additionalData []byte) ([]byte, error) {
	return o.unwrap(o.KEK, wrapped, additionalData)
}

func TestCheck(t *testing.T) {
	sound := open(t, "base64key://"+text)
	proof, err := kms.Check(t.Context(), sound, "prod")
	require.NoError(t, err)
	require.Empty(t, proof.Identity)
	require.Positive(t, proof.Wrap)
	require.Positive(t, proof.Unwrap)

	var first []byte
	for name, unwrap := range map[string]func(kek kms.KEK, wrapped, additionalData []byte) ([]byte, error){
		"gives something else": func(kek kms.KEK, wrapped, additionalData []byte) ([]byte, error) {
			got, err := kek.Unwrap(t.Context(), wrapped, additionalData)
			return append(got, 0), err
		},
		"ignores the tenant": func(kek kms.KEK, wrapped, additionalData []byte) ([]byte, error) {
			if first == nil {
				first = additionalData
			}
			return kek.Unwrap(t.Context(), wrapped, first)
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := kms.Check(t.Context(), odd{sound, unwrap}, "prod")
			require.ErrorIs(t, err, kms.ErrUnsound, name)
		})
	}
	_, err = kms.Check(t.Context(), odd{sound, func(kms.KEK, []byte, []byte) ([]byte, error) { return nil, kms.ErrDenied }}, "prod")
	require.ErrorIs(t, err, kms.ErrDenied)
}
