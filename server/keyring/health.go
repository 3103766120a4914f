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

// The pace of calls of the KEKs, in calls a second. It halves when a call fails, and grows by a fifth a second
// while all of it is used and no call fails. So a KMS that throttles is asked about as often as it allows, and
// one that is down is probed every few seconds.
const (
	fastest   = 1000
	slowest   = 0.2
	recovered = 5 // the pace at least, after the first call that succeeds
	growth    = 0.2
	burst     = 10
	slowing   = 100 * time.Millisecond // failures within it count once: they are of calls that were made at one pace
)

// health is what is known of the KEKs, and the pace at which they are asked.
type health struct {
	mu     sync.Mutex
	err    error
	since  time.Time
	pace   *rate.Limiter
	slowed time.Time
}

// answered reports whether a KEK's call ended with an answer: that a key is another KEK's, or was altered, is one too.
func answered(err error) bool {
	return err == nil || errors.Is(err, kms.ErrWrongKey) || errors.Is(err, envelope.ErrAuthentication)
}

// note remembers how a call of a KEK ended. A call that its caller broke off says nothing.
func (h *health) note(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if answered(err) {
		pace := h.pace.Limit() + growth
		if h.err != nil {
			pace = max(pace, recovered)
		}
		h.pace.SetLimit(min(pace, fastest))
		h.err = nil
		return
	}
	if h.err == nil {
		h.since = now
	}
	h.err = err
	if now.Sub(h.slowed) >= slowing {
		h.slowed = now
		h.pace.SetLimit(max(h.pace.Limit()/2, slowest))
	}
}

// failing returns the error of the last call and since when calls fail; nil if the last one was answered.
func (h *health) failing() (since time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, h.err
}

// admit waits until the KEKs may be asked for a caller. While they are out of reach it returns their error at
// once, unless this call is the probe.
func (h *health) admit(ctx context.Context) error {
	if h.pace.Allow() {
		return nil
	}
	_, err := h.failing()
	if err == nil {
		err = kms.ErrThrottled // by this server
	} else if !errors.Is(err, kms.ErrThrottled) {
		return err
	}
	if h.pace.Wait(ctx) == nil {
		return nil
	}
	return err
}

// spare reports whether the KEKs may be asked for a renewal. While they are out of reach, only probes ask them.
func (h *health) spare() bool {
	_, err := h.failing()
	return (err == nil || errors.Is(err, kms.ErrThrottled)) && h.pace.Allow()
}

// Health returns the error of the KEKs' last call and since when they fail; nil if the last one was answered.
func (r *Keyring) KEKHealth() (since time.Time, err error) { return r.health.failing() }
