package token

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
)

// closeTimeout bounds the last write of last-use times.
const closeTimeout = 2 * time.Second

// Options configures an Authenticator.
type Options struct {
	Store  keystore.Store
	System *keyring.System
	Audit  audit.Recorder // of altered and removed documents
	Log    *slog.Logger
}

// Authenticator holds the tokens of an environment in memory and authenticates requests. It is safe for concurrent use.
type Authenticator struct {
	*Registry
	options  Options
	byHash   sync.Map // [sha256.Size]byte to *cachedToken; without revoked and altered tokens
	follower follower
	lastPoll atomic.Pointer[pollResult]

	mu          sync.Mutex
	byID        map[string]*cachedToken
	reportCount int // faults since the last poll

	cancel context.CancelFunc
	active sync.WaitGroup
}

var _ identity.Authenticator = (*Authenticator)(nil)

// cachedToken is a token in memory. Its storedToken is never changed; a new cachedToken replaces it.
type cachedToken struct {
	storedToken
	lastUse atomic.Int64 // hour of the last use in this process, since 1970; 0 means none

	// The fields below are guarded by Authenticator.mu.
	savedUse      int64             // hour of the last use in the keystore
	lastScan      uint64            // number of the last scan that found the document
	reportedFault [sha256.Size]byte // hash of the last faulty content that was reported
}

// Open reads all tokens and starts goroutines that follow their changes until Close is called. It makes no key. It
// returns an error of the keystore or of the keyring.
func Open(ctx context.Context, o Options) (*Authenticator, error) {
	t := newAuthenticator(o)
	if err := t.poll(ctx); err != nil {
		return nil, err
	}
	ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.active.Go(func() { t.follow(ctx) })
	t.active.Go(func() { runPeriodically(ctx, expireInterval, t.deleteExpired) })
	t.active.Go(func() {
		runPeriodically(ctx, usesInterval, func(ctx context.Context) { t.saveUses(ctx, shardWritePause) })
	})
	return t, nil
}

func newAuthenticator(o Options) *Authenticator {
	t := &Authenticator{Registry: NewRegistry(o.Store, o.System), options: o, byID: map[string]*cachedToken{}, cancel: func() {}}
	t.onChange = t.applyOwn
	t.follower.pending, t.follower.unscanned, t.follower.failed = map[string]bool{}, map[string]bool{}, map[string]bool{}
	return t
}

// Close stops the goroutines and writes the last-use times.
func (t *Authenticator) Close() {
	t.cancel()
	t.active.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	t.saveUses(ctx, 0)
}

// runPeriodically calls do about once per interval until ctx ends. The intervals vary, so that servers that started
// together do not call it at the same time.
func runPeriodically(ctx context.Context, interval time.Duration, do func(context.Context)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(jittered(interval)):
			do(ctx)
		}
	}
}

// jittered returns a random time between 3/4 and 5/4 of d.
func jittered(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// Authenticate implements identity.Authenticator. It does no I/O.
//
// The token is found by its SHA-256. The time of the lookup depends on bits of the hash that a caller cannot choose
// without knowing the token, so it reveals nothing about the token.
func (t *Authenticator) Authenticate(_ context.Context, bearer string) (identity.Identity, error) {
	if len(bearer) != tokenLength || !strings.HasPrefix(bearer, tokenPrefix) {
		return identity.Identity{}, identity.ErrUnauthorized
	}
	found, ok := t.byHash.Load(sha256.Sum256([]byte(bearer)))
	if !ok {
		return identity.Identity{}, identity.ErrUnauthorized
	}
	k, now := found.(*cachedToken), t.now()
	if k.Expired(now) {
		return identity.Identity{}, identity.ErrUnauthorized
	}
	if hour := now.Unix() / 3600; k.lastUse.Load() != hour {
		k.lastUse.Store(hour)
	}
	return identity.Identity{
		Issuer: identity.APIToken, Subject: k.ID, Tenant: k.Tenant, Scopes: k.Scopes, Expires: k.ExpiresAt,
	}, nil
}

// Counts counts the tokens in memory by state.
type Counts struct {
	Live, Expired, Revoked, Altered int
	Expiring                        int // of the live ones, those that expire within expiresSoon
}

// expiresSoon is the time before its expiry in which a token counts as expiring.
const expiresSoon = 7 * 24 * time.Hour

// Counts returns the number of tokens in memory by state.
func (t *Authenticator) Counts() (c Counts) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.byID {
		switch {
		case k.Altered:
			c.Altered++
		case !k.RevokedAt.IsZero():
			c.Revoked++
		case k.Expired(now):
			c.Expired++
		default:
			c.Live++
			if k.Expired(now.Add(expiresSoon)) {
				c.Expiring++
			}
		}
	}
	return c
}

// setLocked sets the cached token of a name. A nil token removes it. t.mu must be held.
func (t *Authenticator) setLocked(name string, k *cachedToken) {
	was := t.byID[name]
	if k == nil {
		delete(t.byID, name)
	} else {
		t.byID[name] = k
		if was != nil {
			k.lastUse.Store(was.lastUse.Load())
			k.savedUse, k.lastScan = was.savedUse, was.lastScan
		}
		if k.inForce() {
			t.byHash.Store(k.hash, k)
		}
	}
	if was != nil && was.inForce() && (k == nil || k.hash != was.hash) {
		t.byHash.CompareAndDelete(was.hash, was)
	}
}

// inForce reports whether the token is accepted until it expires.
func (k *cachedToken) inForce() bool { return !k.Altered && k.RevokedAt.IsZero() }
