package kms

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// late is a context whose own clock has not told it yet that its deadline is over.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now(), true }

func TestOver(t *testing.T) {
	require.True(t, over(late{t.Context()}))
	require.False(t, over(t.Context()))
	soon, cancel := context.WithTimeout(t.Context(), time.Hour)
	require.False(t, over(soon))
	cancel()
	require.True(t, over(soon))
}

// slow is a driver whose calls take a second and then are throttled, or end only when they are given up.
type slow struct {
	silent bool
	calls  int
}

func (*slow) URL() string    { return "slow://key" }
func (*slow) Advice() string { return "nothing" }

func (s *slow) Encrypt(ctx context.Context, _, _ []byte) ([]byte, string, error) {
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

func (s *slow) Decrypt(ctx context.Context, _ string, _, _ []byte) ([]byte, error) {
	_, _, err := s.Encrypt(ctx, nil, nil)
	return nil, err
}

// A call whose last attempt is cut short by the end of its time fails for what the KMS said before; one that
// heard nothing, for that.
func TestTimeIsUp(t *testing.T) {
	for range 50 { // the waits between attempts are random
		for want, driver := range map[error]*slow{ErrThrottled: {}, ErrTimeout: {silent: true}} {
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
