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

// Announce makes changes to keys or tokens that must be on record even if the keystore is lost later. It records the
// events, calls apply once to make all of the changes, and records the events again if apply fails. A restore therefore
// honors the changes. Announce adds the same FactJob to all events.
//
// It must be safe to call apply again after a kill. apply must know its outcome: an error that wraps
// durable.ErrUnknownOutcome means that the changes may have been made, any other error means that they were not
// ([keystore.Replace] reads back to find out). The second record then has the error's code and the outcome "unknown" or
// "failed". Readers treat an announced change as made unless a failed event follows ([EffectiveChanges]).
//
// Once the change is announced, the cancellation of ctx no longer stops it; it ends after durable.ChangeTimeout at the
// latest. A returned error satisfies [IsAnnounced].
func Announce(ctx context.Context, r Recorder, apply func(ctx context.Context) error, events ...Event) error {
	events = slices.Clone(events)
	job := rand.Text()
	for i := range events {
		events[i].Facts = events[i].Facts.with(FactJob, job)
	}
	if err := r.Record(ctx, events...); err != nil {
		_ = recordOutcome(ctx, r, events, err) // the lines may still be written later, although the change is not made
		return &announcedError{fmt.Errorf("audit: nothing was changed, since it cannot be recorded: %w", err)}
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
	return &announcedError{errors.Join(err, recordOutcome(ctx, r, events, err))}
}

// announcedError is an error of Announce.
type announcedError struct{ error }

func (a *announcedError) Unwrap() error { return a.error }

// IsAnnounced reports whether an error comes from Announce. Announce has recorded the failure already, so the caller
// must not record it again.
func IsAnnounced(err error) bool {
	var a *announcedError
	return errors.As(err, &a)
}

// recordOutcome records that announced changes were not made, or that their outcome is unknown.
func recordOutcome(ctx context.Context, r Recorder, events []Event, err error) error {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	for i := range events {
		events[i].Code, events[i].Unknown = codes.Of(err).Code, errors.Is(err, durable.ErrUnknownOutcome)
	}
	return r.Record(ctx, events...)
}

// RecordAlreadyDone records that a requested change was already in effect. A change can be in effect although no
// success is on record, for example if a process lost the reply of the keystore and recorded a failure.
func RecordAlreadyDone(ctx context.Context, r Recorder, e Event) error {
	e.Facts = e.Facts.with(FactPhase, phaseAlready)
	return r.Record(ctx, e)
}

// EffectiveChanges returns, in order, the lines of the announced changes that were made or have an unknown outcome.
func EffectiveChanges(lines []Line) (effective []Line) {
	failed := map[string]bool{}
	for _, l := range lines {
		if job := l.Facts[FactJob]; l.Outcome == outcomeFailed && job != "" {
			failed[job] = true
		}
	}
	for _, l := range lines {
		if l.Outcome == outcomeOK && !failed[l.Facts[FactJob]] {
			effective = append(effective, l)
		}
	}
	return effective
}
