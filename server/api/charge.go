package api

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	chargedBytes = 16 << 10 // of a value, which cost as much as another request
	chargedKeys  = 25       // of a list, which do
	chargedLines = 100      // of the audit log that are searched, which do
	maxPaused    = 1000     // requests that wait at the same time; others are refused at once
)

// charge counts a request as n more of its tenant's.
func (s *server) charge(c *call, n int) { s.limits.Charge(c.id.Tenant, n) }

// pauses delay refusals. A client that sends its next request when it has the answer sends few requests then, and most of
// the processors' time is left to the others.
type pauses struct {
	length  time.Duration
	waiting chan struct{}
}

func newPauses(length time.Duration) pauses { return pauses{length, make(chan struct{}, maxPaused)} }

// pause delays the answer to a refused request.
func (s *server) pause(ctx context.Context, c *call) {
	c.paused = s.pauses.length > 0
	s.pauses.wait(ctx, s.ending)
}

// wait waits for a pause of the length on average, unless too many wait already, the request ends or the server does.
func (p pauses) wait(ctx, ending context.Context) {
	if p.length == 0 {
		return
	}
	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return
	}
	timer := time.NewTimer(p.length/2 + rand.N(p.length)) // so that many connections do not go on together
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-ending.Done():
	}
}
