// Package kmstest is the conformance suite for implementations of kms.KEK. A driver of a KMS also passes RunRemote,
// with a fake KMS that implements Peer.
package kmstest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Subject is the implementation under test.
type Subject struct {
	// Open opens the same KEK each time, like a server that restarts.
	Open func(t testing.TB) kms.KEK
	// Other opens another KEK of the same kind.
	Other func(t testing.TB) kms.KEK
	// Secrets are texts that no URL and no error may contain.
	Secrets []string
	// Unbound is true if the KMS cannot authenticate additional data.
	Unbound bool
}

// Run tests that the subject does what kms.KEK documents.
func Run(t *testing.T, s Subject) {
	t.Run("round trip", s.roundTrip)
	t.Run("refusals", s.refusals)
	t.Run("bounds", s.bounds)
	t.Run("cancelled", s.cancelled)
	t.Run("concurrent", s.concurrent)
	t.Run("no secret shown", s.showsNoSecret)
}

var key, bound = bytes.Repeat([]byte("key!"), 8), []byte("additional data")

func (s Subject) roundTrip(t *testing.T) {
	kek := s.Open(t)
	for _, k := range [][]byte{key, {0}, bytes.Repeat([]byte{7}, 420)} {
		for _, additional := range [][]byte{nil, bound, bytes.Repeat([]byte{9}, 420)} {
			wrapped, err := kek.Wrap(t.Context(), k, additional)
			require.NoError(t, err)
			require.LessOrEqual(t, len(wrapped), envelope.MaxWrapped)
			require.False(t, len(k) > 8 && bytes.Contains(wrapped, k))
			got, err := s.Open(t).Unwrap(t.Context(), wrapped, additional)
			require.NoError(t, err)
			require.Equal(t, k, got)
		}
	}
	first, err := kek.Wrap(t.Context(), key, bound)
	require.NoError(t, err)
	second, err := kek.Wrap(t.Context(), key, bound)
	require.NoError(t, err)
	require.NotEqual(t, first, second, "wrapping is randomised")
	require.Equal(t, kek.URL(), s.Open(t).URL())
}

// requireRefused checks the result of Unwrap for a wrapped key that must not unwrap.
func requireRefused(t *testing.T, got []byte, err error) {
	t.Helper()
	require.Error(t, err)
	require.Empty(t, got)
	require.Contains(t, []string{"wrong_secret", "authentication_failed", "kms_key_unusable"}, codes.Of(err).Code)
}

func (s Subject) refusals(t *testing.T) {
	kek := s.Open(t)
	wrapped, err := kek.Wrap(t.Context(), key, bound)
	require.NoError(t, err)
	got, err := s.Other(t).Unwrap(t.Context(), wrapped, bound)
	requireRefused(t, got, err)
	if !s.Unbound {
		for _, other := range [][]byte{nil, bound[1:], append(bytes.Clone(bound), 0)} {
			got, err := kek.Unwrap(t.Context(), wrapped, other)
			requireRefused(t, got, err)
		}
	}
	for _, n := range []int{0, 1, len(wrapped) / 2, len(wrapped) - 1} {
		got, err := kek.Unwrap(t.Context(), wrapped[:n], bound)
		requireRefused(t, got, err)
	}
	for _, i := range []int{len(wrapped) / 2, len(wrapped) - 1} {
		altered := bytes.Clone(wrapped)
		altered[i] ^= 1
		got, err := kek.Unwrap(t.Context(), altered, bound)
		requireRefused(t, got, err)
	}
	got, err = kek.Unwrap(t.Context(), make([]byte, envelope.MaxWrapped+1), bound)
	requireRefused(t, got, err)
}

func (s Subject) bounds(t *testing.T) {
	_, err := s.Open(t).Wrap(t.Context(), make([]byte, 4097), nil)
	require.Error(t, err)
	require.Equal(t, "too_large", codes.Of(err).Code)
}

func (s Subject) cancelled(t *testing.T) {
	kek := s.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := kek.Wrap(ctx, key, bound)
	require.ErrorIs(t, err, context.Canceled)
	_, err = kek.Unwrap(ctx, nil, bound)
	require.ErrorIs(t, err, context.Canceled)
}

func (s Subject) concurrent(t *testing.T) {
	kek := s.Open(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 8 {
				k, additional := fmt.Append(nil, "key", g, i), fmt.Append(nil, "data", g, i)
				wrapped, err := kek.Wrap(t.Context(), k, additional)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := kek.Unwrap(t.Context(), wrapped, additional); err != nil || !bytes.Equal(k, got) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func (s Subject) showsNoSecret(t *testing.T) {
	kek := s.Open(t)
	require.NotEmpty(t, kek.URL())
	require.LessOrEqual(t, len(kek.URL()), envelope.MaxURL)
	wrapped, err := kek.Wrap(t.Context(), key, bound)
	require.NoError(t, err)
	_, err = s.Other(t).Unwrap(t.Context(), wrapped, bound)
	require.Error(t, err)
	shown := kek.URL() + fmt.Sprintf("%v %+v %#v %s", err, err, err, err) + fmt.Sprintf("%v %+v", kek, kek)
	require.NotContains(t, shown, string(key))
	for _, secret := range s.Secrets {
		require.NotContains(t, shown, secret)
	}
}
