package kms

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// ErrUnsound says that a KEK does not do what it must; nothing may be entrusted to it.
var ErrUnsound = &codes.Error{Of: "kms_key_unusable", Text: "the KMS did not give back what was wrapped, or gave it for another tenant"}

// Proof is what Check found.
type Proof struct {
	Identity     string        // that a KMS's key is pinned by; empty of a local KEK
	Credentials  string        // how long they live, for people; empty where they have no end that is known
	Wrap, Unwrap time.Duration // how long they took
}

// Check has a KEK do what a keyring will ask of it: it wraps and unwraps a key of no use, bound to the
// environment and a tenant as a root is, and refuses it to another tenant. It returns ErrUnsound, or an error
// of the KEK.
func Check(ctx context.Context, kek KEK, environment string) (Proof, error) {
	key := secret.New()
	defer key.Clear()
	place := envelope.Binding{Environment: environment, Owner: "coffer check", ID: key.ID()}
	bound := place.Append(nil)
	plain := key.Append(bytes.Clone(bound))
	defer clear(plain)
	begin := time.Now()
	wrapped, err := kek.Wrap(ctx, plain, bound)
	if err != nil {
		return Proof{}, fmt.Errorf("wrap: %w", err)
	}
	proof := Proof{Identity: Identity(wrapped), Wrap: time.Since(begin)}
	begin = time.Now()
	got, err := kek.Unwrap(ctx, wrapped, bound)
	if err != nil {
		return Proof{}, fmt.Errorf("unwrap: %w", err)
	}
	defer clear(got)
	proof.Unwrap = time.Since(begin)
	place.Owner = "another"
	if _, err := kek.Unwrap(ctx, wrapped, place.Append(nil)); err == nil || !bytes.Equal(plain, got) {
		return Proof{}, ErrUnsound
	}
	remote, ok := kek.(*Remote)
	if !ok {
		proof.Identity = ""
		return proof, nil
	}
	if r, ok := remote.driver.(CredentialRenewer); ok {
		proof.Credentials = r.DescribeCredentials(ctx)
	}
	return proof, nil
}
