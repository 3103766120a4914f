package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/shared/codes"
)

// Change is a change of keys or tokens that is recorded before it is made, so that a restore honors it even if
// the store of keysets is lost. It can be made again after a kill.
type Change struct {
	Event    Event
	Apply    func(ctx context.Context) error
	InEffect func(ctx context.Context) (bool, error) // reports whether the change has been made, after Apply returned an error
}

const (
	readBacks     = 3                      // calls of InEffect, while it fails
	readBackPause = 100 * time.Millisecond // before the second; it doubles
)

// Announce records a change, makes it, and reads back if Apply failed: a reply can be lost after the change was
// made. Announce returns nil if the change is in effect. It records the event again, with the error's code and
// the same FactJob, as failed if the change is not in effect, and with the outcome unknown if InEffect fails
// too. Readers treat an announced change as made unless a failed event follows ([Announced]).
//
// Once it is announced, the cancellation of ctx no longer stops the change; durable.ChangeLimit does.
func Announce(ctx context.Context, r Recorder, c Change) error {
	e := c.Event
	if e.Facts = maps.Clone(e.Facts); e.Facts == nil {
		e.Facts = Facts{}
	}
	e.Facts[FactJob] = rand.Text()
	if err := r.Record(ctx, e); err != nil {
		_ = recordOutcome(ctx, r, e, err) // the line may still be written, and the change is not made
		return &announced{fmt.Errorf("audit: nothing was changed, since it cannot be recorded: %w", err)}
	}
	err := apply(ctx, c.Apply)
	if err == nil {
		return nil
	}
	made, unread := readBack(ctx, c.InEffect)
	if made {
		return nil
	}
	if unread != nil {
		e.Unknown = true
		err = fmt.Errorf("audit: whether the change took effect is not known, make it again: %w", err)
	}
	return &announced{errors.Join(err, recordOutcome(ctx, r, e, err))}
}

// announced is an error of Announce.
type announced struct{ error }

func (a *announced) Unwrap() error { return a.error }

// IsAnnounced reports whether an error comes from Announce, which has recorded it: no other event is needed.
func IsAnnounced(err error) bool {
	var a *announced
	return errors.As(err, &a)
}

func apply(ctx context.Context, change func(ctx context.Context) error) error {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	return change(ctx)
}

// readBack asks inEffect again while it fails.
func readBack(ctx context.Context, inEffect func(ctx context.Context) (bool, error)) (made bool, err error) {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	pause := readBackPause
	for try := 1; ; try++ {
		if made, err = inEffect(ctx); err == nil || try == readBacks {
			return made && err == nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false, err
		}
		pause *= 2
	}
}

func recordOutcome(ctx context.Context, r Recorder, e Event, err error) error {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	e.Code = codes.Of(err).Code
	return r.Record(ctx, e)
}

// Confirm records that a change which somebody asked for was in effect already. A change can take effect
// without a success on record: a process that lost its reply may have recorded that it failed.
func Confirm(ctx context.Context, r Recorder, e Event) error {
	if e.Facts = maps.Clone(e.Facts); e.Facts == nil {
		e.Facts = Facts{}
	}
	e.Facts[FactPhase] = PhaseAlready
	return r.Record(ctx, e)
}

// Announced returns the lines of changes that were made or have an unknown outcome, in order.
func Announced(lines []Line) (made []Line) {
	failed := map[string]bool{}
	for _, l := range lines {
		if job := l.Facts[facts[FactJob]]; l.Outcome == outcomeFailed && job != "" {
			failed[job] = true
		}
	}
	for _, l := range lines {
		if l.Outcome == outcomeOK && !failed[l.Facts[facts[FactJob]]] {
			made = append(made, l)
		}
	}
	return made
}
