package kmstest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// RunRemote is Run for a KEK in a KMS, and tests its behaviour when the KMS fails. start starts a peer for each test.
func RunRemote(t *testing.T, start func(t testing.TB) (Subject, Peer)) {
	t.Run("conformance", func(t *testing.T) {
		s, _ := start(t)
		Run(t, s)
	})
	for name, test := range map[string]func(*testing.T, Subject, Peer){
		"swapped tenant": swappedTenant, "re-created key": recreated, "disabled key": disabled, "revoked access": revoked, "throttled": throttled,
		"transient failures": transient, "outage": outage, "slow": slow, "deadline": deadline,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, peer := start(t)
			test(t, s, peer)
		})
	}
}

// binding returns additional data like that of a root: environment, tenant and key id.
func binding(tenant string) []byte { return []byte("\x04prod\x06" + tenant + "root") }

func wrap(t *testing.T, s Subject) (kms.KEK, []byte) {
	kek := s.Open(t)
	wrapped, err := kek.Wrap(t.Context(), key, binding("tenant"))
	require.NoError(t, err)
	return kek, wrapped
}

// requireNoSecret checks that an error contains no key and no credentials.
func (s Subject) requireNoSecret(t *testing.T, err error) {
	t.Helper()
	require.NotContains(t, err.Error(), string(key))
	for _, secret := range s.Secrets {
		require.NotContains(t, err.Error(), secret)
	}
}

func swappedTenant(t *testing.T, s Subject, _ Peer) {
	kek, wrapped := wrap(t, s)
	got, err := kek.Unwrap(t.Context(), wrapped, binding("another"))
	require.ErrorIs(t, err, envelope.ErrAuthentication)
	require.Empty(t, got)
}

func recreated(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	peer.Recreate()
	for _, kek := range []kms.KEK{kek, s.Open(t)} { // of a running server and of a restarted one
		got, err := kek.Unwrap(t.Context(), wrapped, binding("tenant"))
		require.ErrorIs(t, err, kms.ErrRecreated)
		require.ErrorContains(t, err, kek.URL())
		require.Empty(t, got)
	}
	fresh, again := wrap(t, s)
	require.NotEqual(t, kms.Identity(wrapped), kms.Identity(again))
	_, err := fresh.Unwrap(t.Context(), again, binding("tenant"))
	require.NoError(t, err, "the new key works")
}

func disabled(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	peer.Disable()
	_, err := kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.ErrorIs(t, err, kms.ErrKeyGone)
	s.requireNoSecret(t, err)
	for _, kek := range []kms.KEK{kek, s.Open(t)} {
		_, err = kek.Wrap(t.Context(), key, nil)
		require.ErrorIs(t, err, kms.ErrKeyGone)
	}
}

// Denied access is reported without a retry, with what to check. The KEK works again when access is granted.
func revoked(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	peer.Fail(Denied, Always)
	before := peer.Calls()
	_, err := kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.ErrorIs(t, err, kms.ErrDenied)
	require.ErrorContains(t, err, "KMS authentication failed")
	require.ErrorContains(t, err, ": check ")
	s.requireNoSecret(t, err)
	require.Equal(t, before+1, peer.Calls(), "a denied call is not retried")
	_, err = s.Open(t).Wrap(t.Context(), key, nil)
	require.ErrorIs(t, err, kms.ErrDenied)
	peer.Fail(None, 0)
	_, err = kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.NoError(t, err)
}

// shortContext returns a context that ends while a call retries.
func shortContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func throttled(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	peer.Fail(Throttled, 2)
	before := peer.Calls()
	_, err := kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.NoError(t, err, "a throttled call is retried")
	require.Greater(t, peer.Calls(), before+2)
	peer.Fail(Throttled, Always)
	before = peer.Calls()
	_, err = kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.ErrorIs(t, err, kms.ErrThrottled)
	require.Less(t, peer.Calls(), before+20, "retries back off")
	s.requireNoSecret(t, err)
}

func transient(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	for _, fault := range []Fault{Failing, Down} {
		peer.Fail(fault, 2)
		_, err := kek.Unwrap(t.Context(), wrapped, binding("tenant"))
		require.NoError(t, err)
		peer.Fail(fault, 1)
		_, err = kek.Wrap(t.Context(), key, nil)
		require.NoError(t, err)
	}
}

func outage(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	peer.Fail(Down, Always)
	_, err := kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.ErrorIs(t, err, kms.ErrUnavailable)
	require.ErrorContains(t, err, kek.URL())
	s.requireNoSecret(t, err)
	peer.Fail(None, 0)
	_, err = kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.NoError(t, err, "the KEK works after the outage")
}

// If a call of the KMS does not return, it is retried.
func slow(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	peer.Fail(Slow, 1)
	_, err := kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.NoError(t, err)
	peer.Fail(Slow, Always)
	begin := time.Now()
	_, err = kek.Unwrap(t.Context(), wrapped, binding("tenant"))
	require.ErrorIs(t, err, kms.ErrTimeout)
	require.Less(t, time.Since(begin), time.Minute)
	s.requireNoSecret(t, err)
}

// A call returns when the deadline of its context passes, whatever the KMS does.
func deadline(t *testing.T, s Subject, peer Peer) {
	kek, wrapped := wrap(t, s)
	for _, fault := range []Fault{Slow, Throttled, Failing} {
		peer.Fail(fault, Always)
		begin := time.Now()
		_, err := kek.Unwrap(shortContext(t), wrapped, binding("tenant"))
		require.ErrorIs(t, err, kms.ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(begin), time.Minute)
	}
}
