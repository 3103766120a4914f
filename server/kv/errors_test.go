package kv_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

func TestEach(t *testing.T) {
	failed := errors.New("failed")
	require.Equal(t, []error{nil, nil}, kv.Each(nil, 2))
	require.Equal(t, []error{failed, failed}, kv.Each(failed, 2))
	batch := kv.BatchError{nil, fmt.Errorf("store: %w", kv.ErrUnavailable), nil}
	require.ErrorIs(t, batch, kv.ErrUnavailable)
	require.EqualError(t, batch, "entry 1 of 3: store: store unavailable")
	require.Equal(t, []error(batch), kv.Each(fmt.Errorf("wrapped: %w", batch), 3))
	require.Len(t, kv.Each(batch, 2), 2)
}
