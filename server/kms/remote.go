package kms

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// Driver is a key in a KMS, which an implementation calls by its SDK. NewRemote makes a KEK of it. It is safe for
// concurrent use. Its errors are those of this package and envelope.ErrAuthentication, wrapped with at most the error
// code of the KMS, since messages of a KMS may contain data that must not be logged. A Driver does not retry: Remote
// does.
type Driver interface {
	// URL identifies the key. It contains no secret.
	URL() string
	// Advice returns what to check if the KMS denies access. It follows the word "check" in an error.
	Advice() string
	// Encrypt encrypts plain. The identity identifies the key or key version that did it: a key that is created later
	// under the same name has another one.
	Encrypt(ctx context.Context, plain, additionalData []byte) (ciphertext []byte, identity string, err error)
	// Decrypt decrypts a ciphertext. It returns ErrRecreated if the key is not the one with the identity.
	Decrypt(ctx context.Context, identity string, ciphertext, additionalData []byte) ([]byte, error)
}

const (
	attemptTimeout = 3 * time.Second // of one call of the driver
	callTimeout    = 8 * time.Second // of Wrap or Unwrap, with all attempts and the backoff between them
	firstBackoff   = 100 * time.Millisecond
	maxBackoff     = 2 * time.Second

	remoteVersion = 1
	maxIdentity   = 1024
)

// Remote is a KEK in a KMS. A wrapped key is
//
//	version (1) || length of the identity (2) || identity || ciphertext of the KMS
//
// Remote retries a call that was throttled, failed or took longer than 3 seconds, for up to 8 seconds. It does not
// retry a call that was denied.
type Remote struct{ driver Driver }

var _ KEK = (*Remote)(nil)

// NewRemote returns the KEK of a driver.
func NewRemote(d Driver) *Remote { return &Remote{d} }

// URL implements KEK.
func (r *Remote) URL() string { return r.driver.URL() }

// String returns the URL, so that package fmt does not print the driver, which has credentials.
func (r *Remote) String() string { return r.URL() }

// GoString returns the URL, like String.
func (r *Remote) GoString() string { return r.URL() }

// Wrap implements KEK.
func (r *Remote) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	if len(key) > maxKeySize {
		return nil, envelope.ErrTooLarge
	}
	return r.call(ctx, func(ctx context.Context) ([]byte, error) {
		ciphertext, identity, err := r.driver.Encrypt(ctx, key, additionalData)
		if err != nil {
			return nil, err
		}
		wrapped := binary.BigEndian.AppendUint16([]byte{remoteVersion}, uint16(len(identity)))
		wrapped = append(append(wrapped, identity...), ciphertext...)
		if len(identity) > maxIdentity || len(wrapped) > envelope.MaxWrapped {
			return nil, envelope.ErrTooLarge
		}
		return wrapped, nil
	})
}

// Unwrap implements KEK.
func (r *Remote) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	identity, ciphertext, ok := splitWrapped(wrapped)
	if !ok {
		return nil, envelope.ErrAuthentication
	}
	return r.call(ctx, func(ctx context.Context) ([]byte, error) {
		return r.driver.Decrypt(ctx, identity, ciphertext, additionalData)
	})
}

// Identity returns the identity in a key that a Remote wrapped: the key or key version of the KMS that wrapped it. It
// is empty for other bytes.
func Identity(wrapped []byte) string {
	identity, _, _ := splitWrapped(wrapped)
	return identity
}

// splitWrapped returns the parts of a wrapped key.
func splitWrapped(wrapped []byte) (identity string, ciphertext []byte, ok bool) {
	if len(wrapped) < 3 || len(wrapped) > envelope.MaxWrapped || wrapped[0] != remoteVersion {
		return "", nil, false
	}
	n, rest := int(binary.BigEndian.Uint16(wrapped[1:3])), wrapped[3:]
	if n == 0 || n > maxIdentity || n >= len(rest) {
		return "", nil, false
	}
	return string(rest[:n]), rest[n:], true
}

// call calls do until it succeeds, fails for good or the time is up.
func (r *Remote) call(ctx context.Context, do func(context.Context) ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var last error
	result, err := backoff.Retry(bounded, func() ([]byte, error) {
		attempt, cancel := context.WithTimeout(bounded, attemptTimeout)
		defer cancel()
		result, err := do(attempt)
		if err != nil && expired(attempt) { // SDKs report it in various ways
			err = ErrTimeout
		}
		if err == nil || last == nil || !expired(bounded) { // the error of an attempt that was cut short is less specific than the one before
			last = err
		}
		if err != nil && !transient(err) {
			err = backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(newBackoff()), backoff.WithMaxElapsedTime(callTimeout))
	switch {
	case err == nil:
		return result, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ctx.Err() != nil:
		return nil, fmt.Errorf("kms: %s: %w (%w)", r.URL(), ErrTimeout, ctx.Err())
	}
	return nil, r.explain(last)
}

// expired reports whether the deadline of a context has passed. A dialler or gRPC has a timer of its own for the
// deadline, which may fire before that of the context.
func expired(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// transient reports whether a call may succeed if it is tried again.
func transient(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrThrottled) || errors.Is(err, ErrTimeout)
}

// newBackoff returns an exponential backoff with jitter, so that many servers do not retry at the same time.
func newBackoff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstBackoff, maxBackoff
	return b
}

// explain adds the URL of the KEK to an error, and what to check.
func (r *Remote) explain(err error) error {
	switch {
	case errors.Is(err, ErrDenied):
		return fmt.Errorf("kms: %s: %w: check %s", r.URL(), err, r.driver.Advice())
	case Unusable(err):
		return fmt.Errorf("kms: %s: %w", r.URL(), err)
	}
	return err
}
