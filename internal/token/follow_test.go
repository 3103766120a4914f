package token_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
)

// unavailableStore is a keystore that can be made unavailable, and counts calls.
type unavailableStore struct {
	keystore.Store
	silent atomic.Bool
	calls  atomic.Int64
	broken atomic.Pointer[string] // a document that cannot be read
}

func (s *unavailableStore) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	s.calls.Add(1)
	if broken := s.broken.Load(); s.silent.Load() || kind == keystore.Tokens && broken != nil && *broken == name {
		return nil, keystore.ErrUnavailable
	}
	return s.Store.Get(ctx, kind, name)
}

func (s *unavailableStore) Page(ctx context.Context, kind keystore.Kind, after string, limit int) ([]keystore.Document, string, error) {
	s.calls.Add(1)
	if s.silent.Load() {
		return nil, "", keystore.ErrUnavailable
	}
	return s.Store.Page(ctx, kind, after, limit)
}

func (s *unavailableStore) Changes(ctx context.Context, since keystore.Position) ([]keystore.Change, keystore.Position, error) {
	s.calls.Add(1)
	if s.silent.Load() {
		return nil, "", keystore.ErrUnavailable
	}
	return s.Store.Changes(ctx, since)
}

// While the keystore cannot be read, known tokens are accepted and Ready reports the outage.
func TestTokensWorkWithoutKeystore(t *testing.T) {
	site, store := newMemorySite(t)
	away := &unavailableStore{Store: store}
	site.store = away
	made, known := issue(t, site.registry(), readGrant)
	s := site.server(t)
	require.NoError(t, s.Ready(t.Context()))
	away.silent.Store(true)
	require.ErrorIs(t, s.Poll(t.Context()), keystore.ErrUnavailable)
	require.NoError(t, s.Ready(t.Context()), "one poll may fail")
	s.AgeLastPoll(token.StaleAfter)
	require.ErrorIs(t, s.Ready(t.Context()), keystore.ErrUnavailable)
	require.Contains(t, s.log.String(), `"level":"WARN"`)
	s.requireAccepted(t, made)

	_, err := token.NewRegistry(store, site.system).Revoke(t.Context(), known.ID, discardAudit)
	require.NoError(t, err)
	away.silent.Store(false)
	s.poll(t)
	require.NoError(t, s.Ready(t.Context()))
	s.requireRefused(t, made)
}

// A document that cannot be read removes no token. Ready reports it until it can be read.
func TestUnreadableDocumentKeepsTokens(t *testing.T) {
	site, store := newMemorySite(t)
	away := &unavailableStore{Store: store}
	site.store = away
	made, known := issue(t, site.registry(), readGrant)
	s := site.server(t)
	away.broken.Store(&known.ID)
	content := document(t, store, known.ID)
	keystoretest.Put(t, store, keystore.Tokens, known.ID, nil)
	keystoretest.Put(t, store, keystore.Tokens, known.ID, content)
	s.poll(t)
	s.requireAccepted(t, made)
	s.AgeLastPoll(token.StaleAfter)
	require.Error(t, s.Ready(t.Context()))
	away.broken.Store(nil)
	require.NoError(t, s.Retry(t.Context()))
	require.NoError(t, s.Ready(t.Context()))
	require.Empty(t, s.audit.take())
}

// A scan of all documents finds changes that the feed does not contain, for example after the feed was lost.
func TestLostFeedCausesScan(t *testing.T) {
	site, store := newMemorySite(t)
	s := site.server(t)
	made, known := issue(t, site.registry(), readGrant)
	store.LoseFeed()
	s.poll(t)
	s.requireAccepted(t, made)
	issue(t, site.registry(), readGrant)
	s.poll(t) // so that the position is not the start of another feed
	revoke(t, site.registry(), known.ID)
	store.LoseFeed()
	s.poll(t)
	s.requireRefused(t, made)
}

// A request reads no keystore.
func TestRequestsReadNoKeystore(t *testing.T) {
	site, store := newMemorySite(t)
	counted := &unavailableStore{Store: store}
	site.store = counted
	made, _ := issue(t, site.registry(), readGrant)
	s := site.server(t)
	before := counted.calls.Load()
	for range 1000 {
		s.requireAccepted(t, made)
		s.requireRefused(t, token.Prefix+made[len(token.Prefix)+1:]+"A")
	}
	require.Equal(t, before, counted.calls.Load())
}

// propagationTime is the promised time in which every server sees a change.
const propagationTime = 3 * time.Second

// Servers that share a keystore see each other's tokens and revocations.
func TestServersSeeChangesInTime(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) func() keystore.Store{
		"sqlite": func(t *testing.T) func() keystore.Store {
			dir := t.TempDir()
			return func() keystore.Store {
				store, err := sqlitekeys.Open(dir)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, store.Close()) })
				return store
			}
		},
		"redis": func(t *testing.T) func() keystore.Store {
			redis := redistest.Start(t)
			return func() keystore.Store { return rediskeys.New(redis.Client(t)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			serve := func() *token.Authenticator {
				one := &server{audit: &eventLog{}, log: &lockedBuffer{}}
				s, err := token.Open(t.Context(), newSite(t, store()).options(one))
				require.NoError(t, err)
				t.Cleanup(func() {
					s.Close()
					require.Empty(t, one.audit.take())
				})
				return s
			}
			a, b := serve(), serve()
			for range 3 {
				made, known := issue(t, a.Registry, readGrant)
				accepts := func(s *token.Authenticator) func() bool {
					return func() bool {
						_, err := s.Authenticate(context.Background(), made)
						return err == nil
					}
				}
				require.True(t, accepts(a)())
				requireWithin(t, accepts(b))
				revoke(t, b.Registry, known.ID)
				require.False(t, accepts(b)())
				requireWithin(t, func() bool { return !accepts(a)() })
			}
		})
	}
}

// requireWithin waits for a condition. It fails if that takes longer than promised on a machine that is not overloaded.
func requireWithin(t *testing.T, accepts func() bool) {
	t.Helper()
	begin := time.Now()
	require.Eventually(t, accepts, time.Minute, 10*time.Millisecond)
	if took := time.Since(begin); took > propagationTime {
		t.Logf("it took %s: is the machine busy?", took)
	}
}

// Servers that make, use and revoke tokens at the same time lose no change and revive no token.
func TestConcurrentChangesLoseNothing(t *testing.T) {
	site, _ := newMemorySite(t)
	s := site.server(t)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = s.Poll(context.Background())
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.SaveUses(context.Background())
			}
		}
	})
	kept, gone := make([]string, 8), make([]string, 8)
	var makers sync.WaitGroup
	for i := range kept {
		makers.Go(func() {
			registry := site.registry()
			if i%2 == 0 {
				registry = s.Registry
			}
			kept[i], _ = issue(t, registry, readGrant)
			var known token.Token
			gone[i], known = issue(t, registry, readGrant)
			_, _ = s.Authenticate(context.Background(), kept[i])
			revoke(t, registry, known.ID)
		})
	}
	makers.Wait()
	close(stop)
	wg.Wait()
	s.poll(t)
	for i := range kept {
		s.requireAccepted(t, kept[i])
		s.requireRefused(t, gone[i])
	}
	require.Equal(t, token.Counts{Live: 8, Revoked: 8}, s.Counts())
	require.Empty(t, s.audit.take())
}
