package kms

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// CheckResult is the result of Check.
type CheckResult struct {
	Identity     string        // of the key in the KMS; see Driver. It is empty for a local KEK
	Credentials  string        // describes for people how long the credentials are valid; empty if that is unknown
	Wrap, Unwrap time.Duration // how long the calls took
}

// Check tests whether a KEK is fit for a keyring. It wraps and unwraps a random key that is bound to the environment
// and a tenant, like a root, and checks that the key does not unwrap for another tenant. It returns ErrCheckFailed, or
// the error of the KEK.
func Check(ctx context.Context, kek KEK, environment string) (CheckResult, error) {
	key := secret.New()
	defer key.Clear()
	binding := envelope.Binding{Environment: environment, Owner: "coffer check", ID: key.ID()}
	additionalData := binding.Append(nil)
	plain := key.Append(bytes.Clone(additionalData))
	defer clear(plain)
	begin := time.Now()
	wrapped, err := kek.Wrap(ctx, plain, additionalData)
	if err != nil {
		return CheckResult{}, fmt.Errorf("wrap: %w", err)
	}
	result := CheckResult{Identity: Identity(wrapped), Wrap: time.Since(begin)}
	begin = time.Now()
	got, err := kek.Unwrap(ctx, wrapped, additionalData)
	if err != nil {
		return CheckResult{}, fmt.Errorf("unwrap: %w", err)
	}
	defer clear(got)
	result.Unwrap = time.Since(begin)
	binding.Owner = "another"
	if _, err := kek.Unwrap(ctx, wrapped, binding.Append(nil)); err == nil || !bytes.Equal(plain, got) {
		return CheckResult{}, ErrCheckFailed
	}
	remote, ok := kek.(*Remote)
	if !ok {
		result.Identity = ""
		return result, nil
	}
	if r, ok := remote.driver.(CredentialRenewer); ok {
		result.Credentials = r.DescribeCredentials(ctx)
	}
	return result, nil
}
