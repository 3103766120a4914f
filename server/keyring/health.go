package keyring

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// The rate of calls of the KEKs, in calls per second. It halves when a call fails, and grows by a fifth of a call per
// second while the rate is used up and no call fails. A KMS that throttles is therefore called about as often as it
// permits, and one that is down every few seconds.
const (
	maxRate          = 1000
	minRate          = 0.2
	recoveryRate     = 5 // lower limit after the first call that succeeds
	rateGrowth       = 0.2
	burst            = 10
	slowdownInterval = 100 * time.Millisecond // failures within it slow down once, because their calls were made at one rate
)

// health is the state of the KEKs and the rate at which they are called.
type health struct {
	mu           sync.Mutex
	err          error
	since        time.Time
	pace         *rate.Limiter
	lastSlowdown time.Time
}

// answered reports whether a KEK answered a call. That a key is of another KEK or was altered is an answer.
func answered(err error) bool {
	return err == nil || errors.Is(err, kms.ErrWrongKey) || errors.Is(err, envelope.ErrAuthentication)
}

// record records how a call of a KEK ended. It ignores a call that its caller canceled.
func (h *health) record(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if answered(err) {
		pace := h.pace.Limit() + rateGrowth
		if h.err != nil {
			pace = max(pace, recoveryRate)
		}
		h.pace.SetLimit(min(pace, maxRate))
		h.err = nil
		return
	}
	if h.err == nil {
		h.since = now
	}
	h.err = err
	if now.Sub(h.lastSlowdown) >= slowdownInterval {
		h.lastSlowdown = now
		h.pace.SetLimit(max(h.pace.Limit()/2, minRate))
	}
}

// failing returns the error of the last call and when calls began to fail, or nil if the last call was answered.
func (h *health) failing() (since time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, h.err
}

// waitForPace waits until a caller may call the KEKs. If they are out of reach, it returns their error immediately,
// unless this call is the probe.
func (h *health) waitForPace(ctx context.Context) error {
	if h.pace.Allow() {
		return nil
	}
	_, err := h.failing()
	if err == nil {
		err = kms.ErrThrottled // throttled by this process
	} else if !errors.Is(err, kms.ErrThrottled) {
		return err
	}
	if h.pace.Wait(ctx) == nil {
		return nil
	}
	return err
}

// allowRenewal reports whether a renewal may call the KEKs now. While they are out of reach, only probes call them.
func (h *health) allowRenewal() bool {
	_, err := h.failing()
	return (err == nil || errors.Is(err, kms.ErrThrottled)) && h.pace.Allow()
}

// KEKHealth returns the error of the KEKs' last call and when calls began to fail, or nil if the last call was
// answered.
func (r *Keyring) KEKHealth() (since time.Time, err error) { return r.health.failing() }
