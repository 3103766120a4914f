package recovery_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
)

// end returns the counts in the last event.
func (e *events) end(t *testing.T) (done, failed string) {
	last := e.all[len(e.all)-1]
	require.Equal(t, audit.PhaseEnd, last.Facts[audit.FactPhase])
	return last.Facts[audit.FactDone], last.Facts[audit.FactFailed]
}

// The final event counts the tenants that were changed, not all tenants.
func TestFinalEventCountsChanges(t *testing.T) {
	s := newSite(t)
	r := s.a()
	populate(t, r, 9)
	counts := func(want string) {
		t.Helper()
		done, failed := s.events.end(t)
		require.Equal(t, want, done+" "+failed)
	}
	_, err := r.Rewrap(t.Context(), kms.NewSet(&failing{KEK: openKEK(t, urlB), left: 1}), false)
	require.Error(t, err)
	done, failed := s.events.end(t)
	require.Equal(t, "0", done)
	require.NotEqual(t, "0", failed)
	_, err = r.Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	counts("9 0")
	_, err = r.Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	counts("0 0")
	file := backup(t, s.b())
	_, err = s.a().FinishRewrap(t.Context(), to(t, urlB))
	require.NoError(t, err)
	counts("9 0")
	_, err = s.b().Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	counts("0 0")
	s.lose()
	_, err = s.b().Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	counts("9 0")
	endings := &recovery.Tombstones{Tenants: map[string]bool{"tenant-0": true}}
	_, err = s.b().Restore(t.Context(), reading(file), endings)
	require.ErrorIs(t, err, keyring.ErrNotDestroyed)
	counts("0 1")
}

// unlisted is a store that cannot be listed.
type unlisted struct{ keystore.Store }

func (unlisted) Page(context.Context, keystore.Kind, string, int) ([]keystore.Document, string, error) {
	return nil, "", keystore.ErrUnavailable
}

// An operation that fails early also records a final event.
func TestEarlyFailureIsRecorded(t *testing.T) {
	s := newSite(t)
	r := s.a()
	populate(t, r, 2)
	ring, err := keyring.New(unlisted{r.Store}, r.KEKs, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	r.Keyring = ring
	_, err = r.Rewrap(t.Context(), to(t, urlB), false)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	done, failed := s.events.end(t)
	require.Equal(t, "0 0", done+" "+failed)
	require.NotEmpty(t, s.events.all[len(s.events.all)-1].Code)
}

// unwritable is a store that refuses writes.
type unwritable struct{ keystore.Store }

func (unwritable) Swap(context.Context, keystore.Kind, string, []byte, []byte, int64) (bool, error) {
	return false, keystore.ErrUnavailable
}

// The environment's own keys do not count as a tenant in an error, nor in the event of a drill.
func TestSystemDocumentIsNotATenant(t *testing.T) {
	s := newSite(t)
	r := s.a()
	populate(t, r, 9)
	_, err := r.Keyring.System(t.Context())
	require.NoError(t, err)
	file := backup(t, r)
	r.Keyring, err = keyring.New(unwritable{r.Store}, r.KEKs, "test")
	require.NoError(t, err)
	t.Cleanup(r.Keyring.Close)
	_, err = r.ReplaceRoots(t.Context())
	require.ErrorContains(t, err, "for the environment's own keys and 9 of 9 tenants")

	_, err = s.b().Drill(t.Context(), reading(file))
	require.Error(t, err)
	done, _ := s.events.end(t)
	require.Equal(t, "0", done)
}

// A backup is recorded as failed if its file cannot be kept or its keysets cannot be read.
func TestFailedBackupIsRecorded(t *testing.T) {
	s := newSite(t)
	r := s.a()
	populate(t, r, 1)
	full := errors.New("the disk is full")
	_, err := r.Backup(t.Context(), func(fill func(io.Writer) error) error { return errors.Join(fill(io.Discard), full) })
	require.ErrorIs(t, err, full)
	s.lose()
	_, err = s.a().Backup(t.Context(), into(io.Discard))
	require.ErrorIs(t, err, recovery.ErrNoKeys)
	require.Equal(t, []string{"backup.create ", "backup.create internal", "backup.create ", "backup.create not_found"}, s.events.actions())
}
