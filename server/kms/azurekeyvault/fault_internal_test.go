package azurekeyvault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms"
)

func TestErrorsOfTheSDK(t *testing.T) {
	body := func(status int, inner string) *http.Response {
		text := fmt.Sprintf(`{"error":{"code":"Forbidden","message":"PLANTED","innerError":{"code":%q}}}`, inner)
		return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader([]byte(text)))}
	}
	answer := func(status int, inner string) error {
		return &azcore.ResponseError{StatusCode: status, ErrorCode: "PLANTED", RawResponse: body(status, inner)}
	}
	login := func(r *http.Response) error { return &azidentity.AuthenticationFailedError{RawResponse: r} }
	for _, c := range []struct {
		err  error
		want error
		says string
	}{
		{answer(400, ""), kms.ErrKeyGone, "400"}, {answer(401, ""), kms.ErrDenied, "401"}, {answer(403, "ForbiddenByFirewall"), kms.ErrDenied, "403"},
		{answer(403, "KeyDisabled"), errDisabled, "disabled"}, {answer(403, "KeyExpired"), errDisabled, "disabled"},
		{answer(403, "KeyNotYetValid"), errDisabled, "disabled"}, {answer(404, ""), errNotFound, "404"}, {answer(409, ""), kms.ErrKeyGone, "409"},
		{answer(429, ""), kms.ErrThrottled, "429"}, {answer(500, ""), kms.ErrUnavailable, "500"}, {answer(503, ""), kms.ErrUnavailable, "503"},
		{&azcore.ResponseError{StatusCode: 403}, kms.ErrDenied, "403"},
		{login(nil), kms.ErrUnavailable, "Entra cannot be reached"}, {login(body(400, "")), kms.ErrDenied, "Entra answers 400"},
		{login(body(401, "")), kms.ErrDenied, "Entra answers 401"}, {login(body(429, "")), kms.ErrThrottled, "Entra answers 429"},
		{login(body(502, "")), kms.ErrUnavailable, "Entra answers 502"}, {errors.New("PLANTED"), kms.ErrUnavailable, "cannot be reached"},
	} {
		err := kmsError(fmt.Errorf("PLANTED: %w", c.err))
		require.ErrorIs(t, err, c.want)
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "PLANTED")
	}
	require.NoError(t, kmsError(nil))
}
