package kms_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms"
)

// faultyKEK is a KEK with another Unwrap.
type faultyKEK struct {
	kms.KEK
	unwrap func(kek kms.KEK, wrapped, additionalData []byte) ([]byte, error)
}

func (f faultyKEK) Unwrap(_ context.Context, wrapped, additionalData []byte) ([]byte, error) {
	return f.unwrap(f.KEK, wrapped, additionalData)
}

func TestCheckFindsFaultyKEKs(t *testing.T) {
	valid := open(t, "base64key://"+text)
	result, err := kms.Check(t.Context(), valid, "prod")
	require.NoError(t, err)
	require.Empty(t, result.Identity)
	require.Positive(t, result.Wrap)
	require.Positive(t, result.Unwrap)

	var first []byte
	for name, unwrap := range map[string]func(kek kms.KEK, wrapped, additionalData []byte) ([]byte, error){
		"returns another key": func(kek kms.KEK, wrapped, additionalData []byte) ([]byte, error) {
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
			_, err := kms.Check(t.Context(), faultyKEK{valid, unwrap}, "prod")
			require.ErrorIs(t, err, kms.ErrCheckFailed, name)
		})
	}
	_, err = kms.Check(t.Context(), faultyKEK{valid, func(kms.KEK, []byte, []byte) ([]byte, error) { return nil, kms.ErrDenied }}, "prod")
	require.ErrorIs(t, err, kms.ErrDenied)
}
