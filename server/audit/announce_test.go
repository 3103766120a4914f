package audit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
)

// memoryRecorder is a Recorder that keeps its events in memory.
type memoryRecorder struct {
	events    []audit.Event
	nextError error // returned by the next call of Record
}

func (k *memoryRecorder) Record(ctx context.Context, events ...audit.Event) error {
	err := errors.Join(k.nextError, ctx.Err())
	k.nextError = nil
	if err == nil {
		k.events = append(k.events, events...)
	}
	return err
}

// outcomes returns the outcomes of the events, as their lines have them.
func (k *memoryRecorder) outcomes() (all []string) {
	for _, e := range k.events {
		switch {
		case e.Code == "":
			all = append(all, "ok")
		case e.Unknown:
			all = append(all, "unknown")
		default:
			all = append(all, "failed")
		}
	}
	return all
}

// All events of a change are recorded before the change is made. A failure is recorded only if the change was not made,
// and an unknown outcome if that cannot be determined.
func TestAnnounceRecordsBeforeTheChange(t *testing.T) {
	lost := fmt.Errorf("%w: %w", durable.ErrUnknownOutcome, keystore.ErrUnavailable)
	for _, c := range []struct {
		name     string
		fails    error // returned by apply
		outcomes []string
	}{
		{"made", nil, []string{"ok", "ok"}},
		{"not made", keystore.ErrUnavailable, []string{"ok", "ok", "failed", "failed"}},
		{"unknown", lost, []string{"ok", "ok", "unknown", "unknown"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &memoryRecorder{}
			ctx, cancel := context.WithCancel(t.Context())
			facts := audit.Facts{audit.FactUse: "cache"}
			err := audit.Announce(ctx, log, func(ctx context.Context) error {
				require.Len(t, log.events, 2)
				cancel() // the caller disconnects
				require.NoError(t, ctx.Err())
				_, limited := ctx.Deadline()
				require.True(t, limited)
				return c.fails
			}, audit.Event{Action: audit.KeyDestroy, Tenant: "clinic", Facts: facts}, audit.Event{Action: audit.KeyRotate, Tenant: "clinic", Facts: facts})
			require.Equal(t, c.fails != nil, err != nil, err)
			require.Equal(t, c.fails != nil, audit.IsAnnounced(err))
			if c.fails != nil {
				require.ErrorIs(t, err, keystore.ErrUnavailable)
			}
			require.Equal(t, c.outcomes, log.outcomes())
			require.Len(t, facts, 1, "Announce must not change the caller's facts")
			for _, e := range log.events {
				require.Equal(t, log.events[0].Facts[audit.FactJob], e.Facts[audit.FactJob])
				require.NotEmpty(t, e.Facts[audit.FactJob])
			}
		})
	}
}

// A change that cannot be announced is not made. Its lines may be written later, so its failure is recorded too.
func TestAnnounceMakesNoChangeWithoutRecord(t *testing.T) {
	log := &memoryRecorder{nextError: audit.ErrUnavailable}
	err := audit.Announce(t.Context(), log, func(context.Context) error {
		t.Error("the change was made although it was not recorded")
		return nil
	}, audit.Event{Action: audit.KeyDestroy})
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.Equal(t, []string{"failed"}, log.outcomes())
}

// Readers treat an announced change as made unless a failure follows.
func TestEffectiveChangesOmitFailedOnes(t *testing.T) {
	line := func(outcome, job string) audit.Line {
		l := audit.Line{}
		l.Outcome, l.Facts = outcome, audit.Facts{audit.FactJob: job}
		return l
	}
	made := audit.EffectiveChanges([]audit.Line{
		line("ok", "made"), line("ok", "failed"), line("ok", "unknown"), line("failed", "failed"), line("unknown", "unknown"), line("ok", ""), line("failed", ""),
	})
	jobs := []string{}
	for _, l := range made {
		jobs = append(jobs, l.Facts["job"])
	}
	require.Equal(t, []string{"made", "unknown", ""}, jobs)
}

func TestReasonsAreParsedAndListed(t *testing.T) {
	for _, r := range audit.Reasons {
		parsed, err := audit.ParseReason(string(r))
		require.NoError(t, err)
		require.Equal(t, audit.Facts{audit.FactReason: string(r)}, audit.Facts(nil).With(parsed))
		require.Contains(t, audit.ReasonFlagUsage(), string(r))
		require.Contains(t, audit.ErrReason.Message, string(r))
	}
	none, err := audit.ParseReason("")
	require.NoError(t, err)
	require.Nil(t, audit.Facts(nil).With(none))
	for _, wrong := range []string{"Incident", "incident ", "a patient's name"} {
		_, err := audit.ParseReason(wrong)
		require.ErrorIs(t, err, audit.ErrReason)
	}
}
