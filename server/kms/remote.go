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

// Driver is a key of a KMS as its SDK has it. Its errors are the sentinels of this package and
// envelope.ErrAuthentication, wrapped in no more than the KMS's own code for what happened: its messages may
// hold what is not for a log.
type Driver interface {
	// URL names the key without any secret.
	URL() string
	// Advice says what to check where the KMS denies access, as it follows the word "check".
	Advice() string
	// Encrypt also gives what names the key that did it for good: no key that is made later under the same
	// name has that identity.
	Encrypt(ctx context.Context, plain, additionalData []byte) (ciphertext []byte, identity string, err error)
	// Decrypt returns ErrRecreated where the key is not the one of the identity.
	Decrypt(ctx context.Context, identity string, ciphertext, additionalData []byte) ([]byte, error)
}

const (
	// attemptTimeout bounds one call of a KMS, callTimeout all that one Wrap or Unwrap takes, with the waits between.
	attemptTimeout = 3 * time.Second
	callTimeout    = 8 * time.Second
	firstWait      = 100 * time.Millisecond
	longestWait    = 2 * time.Second

	remoteVersion = 1
	maxIdentity   = 1024
)

// Remote is a KEK in a KMS. What it wraps is
//
//	version (1) || length of the identity (2) || identity || the KMS's ciphertext
//
// A call that was throttled, failed on the way or took too long is tried again for 8 seconds; a denied one is not.
type Remote struct{ driver Driver }

var _ KEK = (*Remote)(nil)

// NewRemote makes a KEK of a driver.
func NewRemote(d Driver) *Remote { return &Remote{d} }

// URL implements KEK.
func (r *Remote) URL() string { return r.driver.URL() }

// String is the URL: no verb of package fmt shows the driver, which has credentials.
func (r *Remote) String() string { return r.URL() }

// GoString is the URL as well.
func (r *Remote) GoString() string { return r.URL() }

// Wrap implements KEK.
func (r *Remote) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	if len(key) > maxKey {
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
	identity, ciphertext, ok := split(wrapped)
	if !ok {
		return nil, envelope.ErrAuthentication
	}
	return r.call(ctx, func(ctx context.Context) ([]byte, error) {
		return r.driver.Decrypt(ctx, identity, ciphertext, additionalData)
	})
}

// Identity gives the identity that wrapped bytes pin.
func Identity(wrapped []byte) string {
	identity, _, _ := split(wrapped)
	return identity
}

func split(wrapped []byte) (identity string, ciphertext []byte, ok bool) {
	if len(wrapped) < 3 || len(wrapped) > envelope.MaxWrapped || wrapped[0] != remoteVersion {
		return "", nil, false
	}
	n, rest := int(binary.BigEndian.Uint16(wrapped[1:3])), wrapped[3:]
	if n == 0 || n > maxIdentity || n >= len(rest) {
		return "", nil, false
	}
	return string(rest[:n]), rest[n:], true
}

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
		if err != nil && over(attempt) { // however the SDK says it
			err = ErrTimeout
		}
		if err == nil || last == nil || !over(bounded) { // an attempt that was cut short tells less than the one before it
			last = err
		}
		if err != nil && !passing(err) {
			err = backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(waits()), backoff.WithMaxElapsedTime(callTimeout))
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

// over reports whether a context's time is up. Other clocks that keep its deadline (a dialler's, gRPC's) may
// tell the SDK before the context knows.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// passing reports whether an error may be over by itself.
func passing(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrThrottled) || errors.Is(err, ErrTimeout)
}

// waits are between two tries, each longer and none predictable, so that many servers do not come back at once.
func waits() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstWait, longestWait
	return b
}

// explain says which key it is about, and what to check.
func (r *Remote) explain(err error) error {
	switch {
	case errors.Is(err, ErrDenied):
		return fmt.Errorf("kms: %s: %w: check %s", r.URL(), err, r.driver.Advice())
	case Unusable(err):
		return fmt.Errorf("kms: %s: %w", r.URL(), err)
	}
	return err
}
