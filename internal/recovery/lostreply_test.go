package recovery_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// lossy is a store that applies changes and loses the replies.
type lossy struct{ keystore.Store }

func (l lossy) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	if _, err := l.Store.Swap(ctx, kind, name, old, document, due); err != nil {
		return false, err
	}
	return false, keystore.ErrUnavailable
}

func (s *site) lossy(t *testing.T, r *recovery.Recovery) *recovery.Recovery {
	keks, store := kms.NewSet(openKEK(t, urlA)), lossy{s.store()}
	ring, err := keyring.New(store, keks, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	return &recovery.Recovery{Keyring: ring, Store: store, KEKs: keks, Environment: "test", Audit: r.Audit}
}

// A tenant whose shredding lost its reply stays shredded after a restore, and a key whose destruction lost its reply
// stays destroyed.
func TestLostReplyStaysDestroyedAfterRestore(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	shredded, kept := sealWith(t, r, "shredded", classify.PHI), sealWith(t, r, "kept", classify.PHI)
	key := primary(t, r, "kept")
	rotateOf(t, r, key)
	require.NoError(t, retire(t, r, key, envelope.Disabled))
	file := backup(t, s.a())
	failing := s.lossy(t, r)
	require.NoError(t, failing.Shred(t.Context(), "shredded"))
	require.NoError(t, retire(t, failing, key, envelope.Destroyed))
	s.lose()
	restored, err := s.a().Restore(t.Context(), reading(file), s.endings(t))
	require.NoError(t, err)
	require.Equal(t, []recovery.Destroyed{{Tenant: "kept", Keys: 1}, {Tenant: "shredded", Shredded: true}}, restored.Destroyed)
	require.Equal(t, "key_destroyed", code(shredded.open(s.a())))
	require.NoError(t, kept.open(s.a()))
	require.Equal(t, envelope.Destroyed, stateIn(t, s.a(), key))
}

// A shredding that is recorded continues if its caller disconnects.
func TestShredContinuesWithoutCaller(t *testing.T) {
	s := newSite(t)
	p := sealWith(t, s.a(), "tenant", classify.PHI)
	r := s.a()
	ctx, cancel := context.WithCancel(t.Context())
	r.Audit = leaving{r.Audit, cancel}
	require.NoError(t, r.Shred(ctx, "tenant"))
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.Equal(t, "key_destroyed", code(p.open(s.a())))
}

// leaving is an audit log whose caller disconnects after an event is recorded.
type leaving struct {
	audit.Recorder
	leave func()
}

func (l leaving) Record(ctx context.Context, events ...audit.Event) error {
	err := l.Recorder.Record(ctx, events...)
	l.leave()
	return err
}

// If a run that removes the former slots is interrupted anywhere, it can be repeated with the former KEK configured:
// until the end, that KEK opens the key of the audit log.
func TestFinishRewrapCanBeRepeated(t *testing.T) {
	for n := 1; ; n++ {
		s := newSite(t)
		populate(t, s.a(), 3)
		_, err := s.a().Keyring.System(t.Context())
		require.NoError(t, err)
		_, err = s.a().Rewrap(t.Context(), to(t, urlB), false)
		require.NoError(t, err)
		r := s.a()
		r.Store = keystoretest.NewFaultyStore(r.Store, func(w keystoretest.Write) keystoretest.Fault {
			if w.N >= n {
				return keystoretest.FailBefore
			}
			return keystoretest.NoFault
		})
		if _, err = r.FinishRewrap(t.Context(), to(t, urlB)); err == nil {
			require.Equal(t, 5, n, "three tenants and the system document")
			return
		}
		own, err := s.a().Keyring.FindSystem(t.Context())
		require.NoError(t, err, "broken off at write %d", n)
		require.NotNil(t, own)
		_, err = s.a().FinishRewrap(t.Context(), to(t, urlB))
		require.NoError(t, err)
		_, err = s.b().Keyring.FindSystem(t.Context())
		require.NoError(t, err)
	}
}

// refusing is a KEK that does not unwrap the roots of one tenant.
type refusing struct {
	kms.KEK
	tenant string
}

func (r refusing) Unwrap(ctx context.Context, wrapped, additional []byte) ([]byte, error) {
	if bytes.Contains(additional, []byte(r.tenant)) {
		return nil, envelope.ErrAuthentication
	}
	return r.KEK.Unwrap(ctx, wrapped, additional)
}

// No former slot of any tenant is removed if the new KEK does not open the roots of one tenant.
func TestFinishRewrapIsAllOrNothing(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 5)
	_, err := s.a().Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	before, err := s.a().CountRootsByKEK(t.Context())
	require.NoError(t, err)
	require.Len(t, before, 1)
	report, err := s.a().FinishRewrap(t.Context(), kms.NewSet(refusing{openKEK(t, urlB), "tenant-3"}))
	require.Error(t, err)
	require.Len(t, report.Failures, 1)
	require.Equal(t, "tenant-3", report.Failures[0].Tenant)
	after, err := s.a().CountRootsByKEK(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// Nothing is rewrapped if one keyset cannot be read, even if it is the last.
func TestRewrapRefusesUnreadableKeyset(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 3)
	before, err := s.a().CountRootsByKEK(t.Context())
	require.NoError(t, err)
	swapped, err := s.store().Swap(t.Context(), keystore.Keysets, "zzz", nil, []byte("damaged"), 0)
	require.NoError(t, err)
	require.True(t, swapped)
	_, err = s.a().Rewrap(t.Context(), to(t, urlB), false)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	swapped, err = s.store().Swap(t.Context(), keystore.Keysets, "zzz", []byte("damaged"), nil, 0)
	require.NoError(t, err)
	require.True(t, swapped)
	after, err := s.a().CountRootsByKEK(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// If the KMS does not answer, a rewrap stops, and does not try every tenant.
func TestRewrapStopsWithoutKMS(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 100)
	kek := &failing{KEK: openKEK(t, urlB), left: 1}
	report, err := s.a().Rewrap(t.Context(), kms.NewSet(kek), false)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	require.Less(t, len(report.Failures), 100)
	require.Greater(t, kek.left, -100, "calls that failed")
}
