package gcpkms

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coffer-storage/coffer/server/kms"
)

func TestErrorsOfTheSDK(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.PermissionDenied: kms.ErrDenied, codes.Unauthenticated: kms.ErrDenied, codes.ResourceExhausted: kms.ErrThrottled,
		codes.DeadlineExceeded: kms.ErrTimeout,
		codes.NotFound:         kms.ErrKeyGone, codes.FailedPrecondition: kms.ErrKeyGone, codes.InvalidArgument: kms.ErrKeyGone,
		codes.Unavailable: kms.ErrUnavailable, codes.Internal: kms.ErrUnavailable, codes.Unknown: kms.ErrUnavailable, codes.Aborted: kms.ErrUnavailable,
	} {
		t.Run(code.String(), func(t *testing.T) {
			err := kmsError(status.Error(code, "PLANTED"))
			require.ErrorIs(t, err, want)
			if code != codes.Unavailable {
				require.ErrorContains(t, err, code.String())
			}
			require.NotContains(t, err.Error(), "PLANTED")
		})
	}
	require.ErrorContains(t, kmsError(status.Error(codes.Unavailable, "PLANTED")), "cannot be reached")
	require.ErrorIs(t, kmsError(errors.New("PLANTED")), kms.ErrUnavailable)
}
