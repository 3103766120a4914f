package api

import (
	"context"
	"testing"
	"time"
)

// Only so many refusals wait: the others are answered at once, so that a flood does not fill the memory.
func TestPausesAreBounded(t *testing.T) {
	p := newPauses(time.Hour)
	for range maxPaused {
		p.waiting <- struct{}{}
	}
	p.wait(context.Background(), context.Background())
}
