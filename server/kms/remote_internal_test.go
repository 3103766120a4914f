package kms

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lateContext is a context whose deadline has passed before its timer fires.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now(), true }

func TestExpiredComparesTheDeadline(t *testing.T) {
	require.True(t, expired(lateContext{t.Context()}))
	require.False(t, expired(t.Context()))
	soon, cancel := context.WithTimeout(t.Context(), time.Hour)
	require.False(t, expired(soon))
	cancel()
	require.True(t, expired(soon))
}

// slowDriver is a driver whose calls are throttled after a second or, if it is silent, return only when their context
// ends.
type slowDriver struct {
	silent bool
	calls  int
}

func (*slowDriver) URL() string    { return "slow://key" }
func (*slowDriver) Advice() string { return "nothing" }

func (s *slowDriver) Encrypt(ctx context.Context, _, _ []byte) ([]byte, string, error) {
	s.calls++
	answer := time.After(time.Second)
	if s.silent {
		answer = nil
	}
	select {
	case <-answer:
		return nil, "", ErrThrottled
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

func (s *slowDriver) Decrypt(ctx context.Context, _ string, _, _ []byte) ([]byte, error) {
	_, _, err := s.Encrypt(ctx, nil, nil)
	return nil, err
}

// If the last attempt of a call is cut short, the call returns the error of the attempt before. If no attempt was
// answered, it returns ErrTimeout.
func TestCallReturnsTheMostSpecificError(t *testing.T) {
	for range 50 { // the backoff is random
		for want, driver := range map[error]*slowDriver{ErrThrottled: {}, ErrTimeout: {silent: true}} {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				_, err := NewRemote(driver).Wrap(t.Context(), []byte("key"), nil)
				require.ErrorIs(t, err, want)
				require.LessOrEqual(t, time.Since(begun), callTimeout)
				require.Greater(t, driver.calls, 1)
			})
		}
	}
}
