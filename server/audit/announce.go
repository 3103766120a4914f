package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/shared/codes"
)

// Announce records changes of keys or tokens, makes all of them by one call of apply, and records them again if that
// fails. So a restore honors them even if the store of keysets is lost. All events carry the same FactJob. apply must be
// able to be made again after a kill, and must know its result: an error that wraps durable.ErrUnknownOutcome means that the
// changes may have been made, any other error that they were not ([keystore.Replace] reads back). They are recorded
// with the error's code, as unknown or failed. Readers treat an announced change as made unless a failed event follows
// ([Announced]).
//
// Once it is announced, the cancellation of ctx no longer stops the change; durable.ChangeTimeout does.
func Announce(ctx context.Context, r Recorder, apply func(ctx context.Context) error, events ...Event) error {
	events = slices.Clone(events)
	job := rand.Text()
	for i := range events {
		events[i].Facts = events[i].Facts.with(FactJob, job)
	}
	if err := r.Record(ctx, events...); err != nil {
		_ = recordOutcome(ctx, r, events, err) // the lines may still be written, and the change is not made
		return &announced{fmt.Errorf("audit: nothing was changed, since it cannot be recorded: %w", err)}
	}
	changing, cancel := durable.Detach(ctx)
	defer cancel()
	err := apply(changing)
	if err == nil {
		return nil
	}
	if errors.Is(err, durable.ErrUnknownOutcome) {
		err = fmt.Errorf("audit: make the change again: %w", err)
	}
	return &announced{errors.Join(err, recordOutcome(ctx, r, events, err))}
}

// announced is an error of Announce.
type announced struct{ error }

func (a *announced) Unwrap() error { return a.error }

// IsAnnounced reports whether an error comes from Announce, which has recorded it: no other event is needed.
func IsAnnounced(err error) bool {
	var a *announced
	return errors.As(err, &a)
}

// recordOutcome records that announced changes were not made, or that it is not known.
func recordOutcome(ctx context.Context, r Recorder, events []Event, err error) error {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	for i := range events {
		events[i].Code, events[i].Unknown = codes.Of(err).Code, errors.Is(err, durable.ErrUnknownOutcome)
	}
	return r.Record(ctx, events...)
}

// Confirm records that a change which somebody asked for was in effect already. A change can take effect
// without a success on record: a process that lost its reply may have recorded that it failed.
func RecordAlreadyDone(ctx context.Context, r Recorder, e Event) error {
	e.Facts = e.Facts.with(FactPhase, phaseAlready)
	return r.Record(ctx, e)
}

// Announced returns the lines of changes that were made or have an unknown outcome, in order.
func EffectiveChanges(lines []Line) (made []Line) {
	failed := map[string]bool{}
	for _, l := range lines {
		if job := l.Facts[FactJob]; l.Outcome == outcomeFailed && job != "" {
			failed[job] = true
		}
	}
	for _, l := range lines {
		if l.Outcome == outcomeOK && !failed[l.Facts[FactJob]] {
			made = append(made, l)
		}
	}
	return made
}
