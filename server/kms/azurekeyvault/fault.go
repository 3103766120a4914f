package azurekeyvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/coffer-storage/coffer/server/kms"
)

var (
	errNotFound = fmt.Errorf("%w (Key Vault answers 404)", kms.ErrKeyGone)
	errDisabled = fmt.Errorf("%w (the key is disabled, expired or not valid yet)", kms.ErrKeyGone)
	errGarbled  = fmt.Errorf("%w (the answer of Key Vault is not valid)", kms.ErrUnavailable)
)

// kmsError returns the error of package kms for an error of the SDK. It keeps only the status, since the text may quote
// requests and claims.
func kmsError(err error) error {
	var answer *azcore.ResponseError
	var login *azidentity.AuthenticationFailedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &login):
		return loginError(login.RawResponse)
	case errors.As(err, &answer):
		return vaultError(answer)
	}
	var credential interface{ NonRetriable() } // the chain of credentials found none, or incomplete ones
	if errors.As(err, &credential) {
		return fmt.Errorf("%w (no credentials were found)", kms.ErrDenied)
	}
	return fmt.Errorf("%w (Key Vault cannot be reached: check the vault's name and the network)", kms.ErrUnavailable)
}

// loginError returns the error for an answer of Microsoft Entra, which issues the tokens.
func loginError(r *http.Response) error {
	switch {
	case r == nil:
		return fmt.Errorf("%w (Microsoft Entra cannot be reached)", kms.ErrUnavailable)
	case r.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w (Microsoft Entra answers 429)", kms.ErrThrottled)
	case r.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%w (Microsoft Entra answers %d)", kms.ErrUnavailable, r.StatusCode)
	}
	return fmt.Errorf("%w (Microsoft Entra answers %d)", kms.ErrDenied, r.StatusCode)
}

// vaultError returns the error for an answer of Key Vault.
func vaultError(answer *azcore.ResponseError) error {
	sentinel := kms.ErrUnavailable
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if disabled(answer.RawResponse) {
			return errDisabled
		}
		sentinel = kms.ErrDenied
	case http.StatusNotFound:
		return errNotFound
	case http.StatusTooManyRequests:
		sentinel = kms.ErrThrottled
	case http.StatusBadRequest, http.StatusConflict:
		sentinel = kms.ErrKeyGone // not an RSA key, or the key is being deleted
	}
	return fmt.Errorf("%w (Key Vault answers %d)", sentinel, answer.StatusCode)
}

// disabled reports whether a key is disabled. The status is 403, as for an identity without permission.
func disabled(r *http.Response) bool {
	if r == nil {
		return false
	}
	var body struct {
		Error struct {
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	payload, err := runtime.Payload(r)
	if err != nil || json.Unmarshal(payload, &body) != nil {
		return false
	}
	switch body.Error.Inner.Code {
	case "KeyDisabled", "KeyExpired", "KeyNotYetValid":
		return true
	}
	return false
}
