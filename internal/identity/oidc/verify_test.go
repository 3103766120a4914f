package oidc_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
)

// A token is verified once, and again after each fetch of the keys. It is not accepted after its expiry.
func TestTokenIsVerifiedOnce(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(nil)
	good := p.token(r, map[string]any{"exp": r.clock.now().Add(time.Hour).Unix()})
	id := requireAccepted(t, r, good)
	release := r.TakeSlots() // no token can be verified now
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range 100 {
		again, err := r.Authenticate(ctx, good)
		require.NoError(t, err)
		require.Equal(t, id, again)
	}
	_, err := r.Authenticate(ctx, p.token(r, map[string]any{"sub": "another"}))
	require.ErrorIs(t, err, context.DeadlineExceeded, "the token waits and is not refused")
	release()
	requireAccepted(t, r, p.token(r, map[string]any{"sub": "another"}))
	requireRefused(t, r, good+"x")
	requireRefused(t, r, sign(t, jose.RS256, rsaOther, header(kid), p.claims(r, nil)))

	r.clock.advance(time.Hour + 2*time.Minute)
	requireRefused(t, r, good)
}
