package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"

	"github.com/coffer-storage/coffer/shared/codes"
)

// Announce records that something is about to be done, does it, and records that it failed where it did, by
// an event with the code and the same [FactJob]. Whoever goes by the log takes what was announced for done
// but for that: so it is for what is done again after a kill, or is no loss.
func Announce(ctx context.Context, r Recorder, e Event, do func() error) error {
	if e.Facts = maps.Clone(e.Facts); e.Facts == nil {
		e.Facts = Facts{}
	}
	e.Facts[FactJob] = rand.Text()
	if err := r.Record(ctx, e); err != nil {
		return err
	}
	err := do()
	if err != nil {
		e.Code = codes.Of(err).Code
		err = errors.Join(err, r.Record(context.WithoutCancel(ctx), e))
	}
	return err
}

// Announced goes over lines of announced events, the oldest first, and gives those of what was done.
func Announced(lines []Line) (done []Line) {
	failed := map[string]bool{}
	for _, l := range lines {
		if job := l.Facts[facts[FactJob]]; l.Outcome != "ok" && job != "" {
			failed[job] = true
		}
	}
	for _, l := range lines {
		if l.Outcome == "ok" && !failed[l.Facts[facts[FactJob]]] {
			done = append(done, l)
		}
	}
	return done
}
