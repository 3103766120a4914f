package audit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
)

// kept is an audit log in memory.
type kept struct {
	all  []audit.Event
	fail error // of the next call
}

func (k *kept) Record(ctx context.Context, events ...audit.Event) error {
	err := errors.Join(k.fail, ctx.Err())
	k.fail = nil
	if err == nil {
		k.all = append(k.all, events...)
	}
	return err
}

// outcomes are those of the events, as a line has them.
func (k *kept) outcomes() (all []string) {
	for _, e := range k.all {
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

// A failure is recorded only of a change that is not in effect, and an unknown outcome if the store is away.
func TestAnnounce(t *testing.T) {
	lost := keystore.ErrUnavailable
	for _, c := range []struct {
		name     string
		fails    error // of Apply
		made     bool
		unread   int // calls of InEffect that fail
		outcomes []string
		err      bool
	}{
		{name: "made", made: true, outcomes: []string{"ok"}},
		{name: "reply lost", fails: lost, made: true, outcomes: []string{"ok"}},
		{name: "reply lost, and the store away for a while", fails: lost, made: true, unread: 2, outcomes: []string{"ok"}},
		{name: "not made", fails: lost, outcomes: []string{"ok", "failed"}, err: true},
		{name: "store away", fails: lost, made: true, unread: 99, outcomes: []string{"ok", "unknown"}, err: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, tries := &kept{}, 0
				ctx, cancel := context.WithCancel(t.Context())
				err := audit.Announce(ctx, log, audit.Change{
					Event: audit.Event{Action: audit.TenantShred, Tenant: "clinic"},
					Apply: func(ctx context.Context) error {
						cancel() // the caller disconnects
						require.NoError(t, ctx.Err())
						_, limited := ctx.Deadline()
						require.True(t, limited)
						return c.fails
					},
					InEffect: func(ctx context.Context) (bool, error) {
						require.NoError(t, ctx.Err())
						if tries++; tries <= c.unread {
							return false, lost
						}
						return c.made, nil
					},
				})
				require.Equal(t, c.err, err != nil, err)
				if c.err {
					require.ErrorIs(t, err, c.fails)
				}
				require.Equal(t, c.outcomes, log.outcomes())
				for _, e := range log.all {
					require.Equal(t, log.all[0].Facts[audit.FactJob], e.Facts[audit.FactJob])
					require.NotEmpty(t, e.Facts[audit.FactJob])
				}
			})
		})
	}
}

// A change that cannot be announced is not made. Its line may be written later, so its failure is recorded too.
func TestAnnounceUnrecorded(t *testing.T) {
	log := &kept{fail: audit.ErrUnavailable}
	err := audit.Announce(t.Context(), log, audit.Change{
		Event: audit.Event{Action: audit.KeyDestroy},
		Apply: func(context.Context) error {
			t.Error("it was made")
			return nil
		},
	})
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.Equal(t, []string{"failed"}, log.outcomes())
}

// Readers take an announced change as made unless a failure follows.
func TestAnnounced(t *testing.T) {
	line := func(outcome, job string) audit.Line {
		l := audit.Line{}
		l.Outcome, l.Facts = outcome, map[string]string{"job": job}
		return l
	}
	made := audit.Announced([]audit.Line{
		line("ok", "made"), line("ok", "failed"), line("ok", "unknown"), line("failed", "failed"), line("unknown", "unknown"), line("ok", ""), line("failed", ""),
	})
	jobs := []string{}
	for _, l := range made {
		jobs = append(jobs, l.Facts["job"])
	}
	require.Equal(t, []string{"made", "unknown", ""}, jobs)
}

func TestReasons(t *testing.T) {
	for _, r := range audit.Reasons {
		parsed, err := audit.ParseReason(string(r))
		require.NoError(t, err)
		require.Equal(t, audit.Facts{audit.FactReason: string(r)}, audit.Facts(nil).With(parsed))
		require.Contains(t, audit.ReasonUsage(), string(r))
		require.Contains(t, audit.ErrReason.Text, string(r))
	}
	none, err := audit.ParseReason("")
	require.NoError(t, err)
	require.Nil(t, audit.Facts(nil).With(none))
	for _, wrong := range []string{"Incident", "incident ", "a patient's name"} {
		_, err := audit.ParseReason(wrong)
		require.ErrorIs(t, err, audit.ErrReason)
	}
}
