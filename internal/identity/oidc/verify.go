package oidc

import (
	"context"
	"crypto/sha256"
	"runtime"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/coffer-storage/coffer/internal/identity"
)

// maxVerified is the maximum number of verified tokens in memory. The least recently used are dropped.
const maxVerified = 10_000

// verifiedTokens caches verified tokens by their hash, so that only new tokens cost a signature verification. It also
// limits concurrent verifications to half of the processors. Wrong tokens therefore leave processor time for other
// requests, and a valid token waits instead of being refused.
type verifiedTokens struct {
	known *lru.Cache[[sha256.Size]byte, verifiedToken]
	slots chan struct{}
}

type verifiedToken struct {
	claims  *jwt.Claims
	id      identity.Identity
	fetched time.Time // when the provider's keys were fetched
}

func newVerified() *verifiedTokens {
	known, _ := lru.New[[sha256.Size]byte, verifiedToken](maxVerified) // fails only if the size is not positive
	return &verifiedTokens{known: known, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// acquire waits for a free slot to verify, or returns ctx's error.
func (v *verifiedTokens) acquire(ctx context.Context) (release func(), err error) {
	select {
	case v.slots <- struct{}{}:
		return func() { <-v.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// findVerified returns the identity of a cached token, if it was verified with the current keys and is still valid.
func (p *Provider) findVerified(hash [sha256.Size]byte) (id identity.Identity, ok bool) {
	one, ok := p.verified.known.Get(hash)
	if !ok || !one.fetched.Equal(p.keys.generation()) || p.checkClaims(one.claims) != "" {
		return id, false
	}
	return one.id, true
}
