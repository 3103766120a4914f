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

// closeTimeout bounds the last write of last-use times, which are for display only.
const closeTimeout = 2 * time.Second

// Options is what a server's Tokens need.
type Options struct {
	Store  keystore.Store
	System *keyring.System
	Audit  audit.Recorder // of documents that are not as they were written
	Log    *slog.Logger
}

// Tokens holds the tokens of an environment in memory and authenticates requests. It is safe for concurrent use.
type Authenticator struct {
	*Registry
	options  Options
	byHash   sync.Map // [sha256.Size]byte to *known, of the tokens in force or expired
	follower follower
	fresh    atomic.Pointer[freshness]

	mu       sync.Mutex
	byID     map[string]*known
	reported int // violations since the last look

	cancel context.CancelFunc
	active sync.WaitGroup
}

var _ identity.Authenticator = (*Authenticator)(nil)

// known is a token in memory. Its entry never changes: another known replaces it.
type known struct {
	entry
	usedAt atomic.Int64 // the hour of the last use here, since 1970; 0 means none

	// t.mu is held for these.
	notedAt int64             // the hour that is in the keystore
	scan    uint64            // the last scan that saw the document
	fault   [sha256.Size]byte // of the last content that was reported
}

// Open reads all tokens and begins to follow their changes in the background, until Close. It makes no key. It returns an error of the
// keystore or of the keyring.
func Open(ctx context.Context, o Options) (*Authenticator, error) {
	t := load(o)
	if err := t.look(ctx); err != nil {
		return nil, err
	}
	ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.active.Go(func() { t.follow(ctx) })
	t.active.Go(func() { regularly(ctx, expireInterval, t.expire) })
	t.active.Go(func() { regularly(ctx, usesInterval, func(ctx context.Context) { t.noteUses(ctx, shardPause) }) })
	return t, nil
}

func load(o Options) *Authenticator {
	t := &Authenticator{Registry: NewRegistry(o.Store, o.System), options: o, byID: map[string]*known{}, cancel: func() {}}
	t.changed = t.adopt
	t.follower.pending, t.follower.lost, t.follower.failed = map[string]bool{}, map[string]bool{}, map[string]bool{}
	return t
}

// Close ends the work in the background and writes the last-use times.
func (t *Authenticator) Close() {
	t.cancel()
	t.active.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	t.noteUses(ctx, 0)
}

// regularly calls do about once an interval. Servers that began at the same time do not call it in step.
func regularly(ctx context.Context, interval time.Duration, do func(context.Context)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(jittered(interval)):
			do(ctx)
		}
	}
}

// jittered returns a time of about d.
func jittered(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// Authenticate implements identity.Authenticator. It reads memory only.
//
// The lookup is by the SHA-256 of the bearer's text, so its time depends on bits of a hash that a caller cannot choose without
// knowing the token: it tells nothing about the 256 random bits of one.
func (t *Authenticator) Authenticate(_ context.Context, bearer string) (identity.Identity, error) {
	if len(bearer) != length || !strings.HasPrefix(bearer, Prefix) {
		return identity.Identity{}, ErrUnauthorized
	}
	found, ok := t.byHash.Load(sha256.Sum256([]byte(bearer)))
	if !ok {
		return identity.Identity{}, ErrUnauthorized
	}
	k, now := found.(*known), t.now()
	if k.Expired(now) {
		return identity.Identity{}, ErrUnauthorized
	}
	if hour := now.Unix() / 3600; k.usedAt.Load() != hour {
		k.usedAt.Store(hour)
	}
	return identity.Identity{
		Issuer: identity.APIToken, Subject: k.ID, Tenant: k.Tenant, Scopes: k.Scopes, Expires: k.ExpiresAt,
	}, nil
}

// Counts is how many tokens there are in memory, by state.
type Counts struct {
	Live, Expired, Revoked, Altered int
	Expiring                        int // of the live ones, within ExpiresSoon
}

// ExpiresSoon is the time before its end in which a token counts as expiring.
const ExpiresSoon = 7 * 24 * time.Hour

// Counts counts the tokens.
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
			if k.Expired(now.Add(ExpiresSoon)) {
				c.Expiring++
			}
		}
	}
	return c
}

// set keeps what is known of a token; nil forgets it. t.mu must be held.
func (t *Authenticator) set(name string, k *known) {
	was := t.byID[name]
	if k == nil {
		delete(t.byID, name)
	} else {
		t.byID[name] = k
		if was != nil {
			k.usedAt.Store(was.usedAt.Load())
			k.notedAt, k.scan = was.notedAt, was.scan
		}
		if k.inForce() {
			t.byHash.Store(k.hash, k)
		}
	}
	if was != nil && was.inForce() && (k == nil || k.hash != was.hash) {
		t.byHash.CompareAndDelete(was.hash, was)
	}
}

// inForce reports whether the token opens the service until it expires.
func (k *known) inForce() bool { return !k.Altered && k.RevokedAt.IsZero() }
