package api

import (
	"context"
	"time"
)

const (
	chargedBytes = 64 << 10 // of a body, which cost as much as another request
	chargedKeys  = 25       // of a list, which do
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

// wait waits for one pause, unless too many wait already, the request ends or the server does.
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
	timer := time.NewTimer(p.length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-ending.Done():
	}
}
