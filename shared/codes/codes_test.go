package codes_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestTableRowsAreValid(t *testing.T) {
	require.Equal(t, codes.Internal, codes.Table[0].Code, "Of falls back to the first row")
	seen := map[string]bool{}
	for i, row := range codes.Table {
		require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, row.Code)
		require.False(t, seen[row.Code], "%s twice", row.Code)
		seen[row.Code] = true
		require.NotEmpty(t, http.StatusText(row.Status), "%s has an unknown HTTP status", row.Code)
		require.GreaterOrEqual(t, row.Status, 400)
		require.NotEmpty(t, row.Meaning)
		require.Equal(t, i, codes.Number(row.Code))
		if i < len(codes.Core) {
			require.Equal(t, row.Code, codes.Core[i])
		}
		if row.Retry && row.Status != http.StatusTooManyRequests {
			require.GreaterOrEqual(t, row.Status, 500, "%s: a refusal cannot be retried", row.Code)
		}
	}
}

// Codes may be added but not removed. These are the first ones; their order is private to one build.
func TestRowsAreNeverRemovedOrRenamed(t *testing.T) {
	first := []string{
		"internal", "invalid_argument", "malformed", "unsupported_version", "too_large", "kdf_out_of_range", "ttl_out_of_range",
		"wrong_secret", "unknown_key", "key_destroyed", "key_unusable", "locked", "authentication_failed", "class_too_low",
		"not_configured", "quota_exceeded", "database_blocked", "connection_lost", "closed", "wasm_unavailable",
		"webcrypto_unavailable", "indexeddb_unavailable", "not_found", "unauthorized", "method_not_allowed", "timeout",
		"store_unavailable", "keyring_unavailable", "forbidden", "rate_limited", "identity_unavailable",
		"audit_unavailable", "precondition_failed",
	}
	for _, code := range first {
		require.GreaterOrEqual(t, codes.Number(code), 0, code)
	}
}

func TestNumberReturnsMinusOneForUnknownCode(t *testing.T) {
	for _, code := range []string{"", "Internal", "nonsense", "malformed "} {
		require.Equal(t, -1, codes.Number(code))
	}
}

func TestOfReturnsFirstCodeInTree(t *testing.T) {
	locked := &codes.Error{ErrorCode: "locked", Message: "the store is locked"}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, "internal"},
		{"an error without a code", errors.New("x"), "internal"},
		{"a code that is not in the table", &codes.Error{ErrorCode: "nonsense"}, "internal"},
		{"the error itself", locked, "locked"},
		{"wrapped", fmt.Errorf("opening: %w", locked), "locked"},
		{"wrapped twice", fmt.Errorf("a: %w", fmt.Errorf("b: %w", locked)), "locked"},
		{"joined", errors.Join(errors.New("x"), locked), "locked"},
		{"joined and wrapped", fmt.Errorf("a: %w", errors.Join(errors.New("x"), fmt.Errorf("b: %w", locked))), "locked"},
		{"the first of two joined errors", errors.Join(format.ErrMalformed, locked), "malformed"},
		{"the first of two wrapped errors", fmt.Errorf("%w: %w", locked, format.ErrMalformed), "locked"},
		{"an error of package format", fmt.Errorf("reading: %w", format.ErrUnsupportedVersion), "unsupported_version"},
		{"an error of package classify", fmt.Errorf("reading: %w", classify.ErrTooLow), "class_too_low"},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := codes.Of(c.err)
			require.Equal(t, c.want, row.Code)
			require.Equal(t, codes.Table[codes.Number(c.want)], row)
		})
	}
}

func TestErrorHasCodeAndText(t *testing.T) {
	err := &codes.Error{ErrorCode: "locked", Message: "the store is locked"}
	require.Equal(t, "locked", err.Code())
	require.EqualError(t, err, "coffer: the store is locked")
}
