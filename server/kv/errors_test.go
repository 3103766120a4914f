package kv_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/codes"
)

func TestErrorsHaveStableCodes(t *testing.T) {
	t.Parallel()
	for err, code := range map[error]string{
		kv.ErrUnavailable: "store_unavailable", kv.ErrLostReply: "store_unavailable", kv.ErrDamaged: "store_unavailable", kv.ErrTooLarge: "too_large",
		kv.ErrClosed: "closed", kv.ErrInvalidTTL: "invalid_argument", kv.ErrCursor: "invalid_argument", kv.ErrInvalidWrite: "invalid_argument",
		kv.ErrFull: "storage_full", kv.ErrQuota: "quota_exceeded", kv.ErrWrongType: "malformed",
	} {
		require.Equal(t, code, codes.Of(fmt.Errorf("store: %w", err)).Code, err)
	}
}

func TestErrorsOfReturnsOneErrorForEachEntry(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	require.Equal(t, []error{nil, nil}, kv.ErrorsOf(nil, 2))
	require.Equal(t, []error{failed, failed}, kv.ErrorsOf(failed, 2))
	batch := kv.BatchError{nil, fmt.Errorf("store: %w", kv.ErrUnavailable), nil}
	require.ErrorIs(t, batch, kv.ErrUnavailable)
	require.EqualError(t, batch, "entry 1 of 3: store: store unavailable")
	require.Equal(t, []error(batch), kv.ErrorsOf(fmt.Errorf("wrapped: %w", batch), 3))
	require.Len(t, kv.ErrorsOf(batch, 2), 2)
}
