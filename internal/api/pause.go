package api

import (
	"context"
	"math/rand/v2"
	"time"
)

// maxPaused is how many requests wait at the same time. Others are refused at once.
const maxPaused = 1000

// pauses delay refusals. A client that sends its next request when it has the answer sends few requests then, and most of
// the processors' time is left to the others.
type pauses struct {
	length  time.Duration // on average; 0 means none
	waiting chan struct{}
}

func newPauses(length time.Duration) pauses { return pauses{length, make(chan struct{}, maxPaused)} }

// pause delays the answer to a refused request.
func (s *server) pause(ctx context.Context, c *call) {
	if s.pauses.length > 0 {
		c.paused = true
		s.pauses.wait(ctx, s.ending)
	}
}

// wait waits for a pause, unless too many wait already, the request ends or the server does.
func (p pauses) wait(ctx, ending context.Context) {
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
