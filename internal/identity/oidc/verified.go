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

// maxVerified bounds the tokens that are remembered: those that were used last.
const maxVerified = 10_000

// verified remembers tokens whose signature holds under the keys of one fetch, by their hash, so that only new tokens cost a
// verification. It also bounds the verifications at the same time to half of the processors: however many wrong tokens
// arrive, they leave the rest to other requests, and a right token waits instead of being refused.
type verified struct {
	known *lru.Cache[[sha256.Size]byte, verdict]
	slots chan struct{}
}

type verdict struct {
	claims  *jwt.Claims
	id      identity.Identity
	fetched time.Time // when the provider's keys were fetched
}

func newVerified() *verified {
	known, _ := lru.New[[sha256.Size]byte, verdict](maxVerified) // it fails only for a size below 1
	return &verified{known: known, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// acquire waits for its turn to verify, or returns the context's error.
func (v *verified) acquire(ctx context.Context) (release func(), err error) {
	select {
	case v.slots <- struct{}{}:
		return func() { <-v.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// remembered returns the identity of a token that was verified under the keys that are known now, if the time still allows it.
func (p *Provider) remembered(hash [sha256.Size]byte) (id identity.Identity, ok bool) {
	one, ok := p.verified.known.Get(hash)
	if !ok || !one.fetched.Equal(p.keys.current()) || p.refuse(one.claims) != "" {
		return id, false
	}
	return one.id, true
}
