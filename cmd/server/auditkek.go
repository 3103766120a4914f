package main

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// auditKEK wraps the key of the audit log in the form of a root without a tenant: bound to the environment,
// which the policies of a KMS can then demand of every call. It also unwraps what was wrapped before it was.
type auditKEK struct {
	kms.KEK
	environment string
}

// Wrap implements kms.KEK.
func (k auditKEK) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	return k.KEK.Wrap(ctx, key, k.bind(additionalData))
}

// Unwrap implements kms.KEK.
func (k auditKEK) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	key, err := k.KEK.Unwrap(ctx, wrapped, k.bind(additionalData))
	if errors.Is(err, envelope.ErrAuthentication) {
		return k.KEK.Unwrap(ctx, wrapped, additionalData)
	}
	return key, err
}

func (k auditKEK) bind(additionalData []byte) []byte {
	place := envelope.Binding{Environment: k.environment, ID: format.KeyID(sha256.Sum256(additionalData))}
	return place.Append(nil)
}
