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

// silent is a keystore that answers nothing while it is silent, and counts calls.
type silent struct {
	keystore.Store
	silent atomic.Bool
	calls  atomic.Int64
	broken atomic.Pointer[string] // a document that cannot be read
}

func (s *silent) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	s.calls.Add(1)
	if broken := s.broken.Load(); s.silent.Load() || kind == keystore.Tokens && broken != nil && *broken == name {
		return nil, keystore.ErrUnavailable
	}
	return s.Store.Get(ctx, kind, name)
}

func (s *silent) Page(ctx context.Context, kind keystore.Kind, after string, limit int) ([]keystore.Document, string, error) {
	s.calls.Add(1)
	if s.silent.Load() {
		return nil, "", keystore.ErrUnavailable
	}
	return s.Store.Page(ctx, kind, after, limit)
}

func (s *silent) Changes(ctx context.Context, since keystore.Position) ([]keystore.Change, keystore.Position, error) {
	s.calls.Add(1)
	if s.silent.Load() {
		return nil, "", keystore.ErrUnavailable
	}
	return s.Store.Changes(ctx, since)
}

// While the keystore cannot be read, known tokens work, and readiness says so.
func TestKeystoreAway(t *testing.T) {
	site, store := newMemorySite(t)
	away := &silent{Store: store}
	site.store = away
	made, known := issue(t, site.registry(), reader)
	s := site.server(t)
	require.NoError(t, s.Ready(t.Context()))
	away.silent.Store(true)
	require.ErrorIs(t, s.Look(t.Context()), keystore.ErrUnavailable)
	require.NoError(t, s.Ready(t.Context()), "one look may fail")
	s.Age(token.StaleAfter)
	require.ErrorIs(t, s.Ready(t.Context()), keystore.ErrUnavailable)
	require.Contains(t, s.log.String(), `"level":"WARN"`)
	s.requireHolds(t, made)

	_, err := token.NewRegistry(store, site.system).Revoke(t.Context(), known.ID, unrecorded)
	require.NoError(t, err)
	away.silent.Store(false)
	s.look(t)
	require.NoError(t, s.Ready(t.Context()))
	s.requireRefused(t, made)
}

// A document that cannot be read takes no token away, and readiness says so until it can.
func TestDocumentDamaged(t *testing.T) {
	site, store := newMemorySite(t)
	away := &silent{Store: store}
	site.store = away
	made, known := issue(t, site.registry(), reader)
	s := site.server(t)
	away.broken.Store(&known.ID)
	content := document(t, store, known.ID)
	keystoretest.Put(t, store, keystore.Tokens, known.ID, nil)
	keystoretest.Put(t, store, keystore.Tokens, known.ID, content)
	s.look(t)
	s.requireHolds(t, made)
	s.Age(token.StaleAfter)
	require.Error(t, s.Ready(t.Context()))
	away.broken.Store(nil)
	require.NoError(t, s.Retry(t.Context()))
	require.NoError(t, s.Ready(t.Context()))
	require.Empty(t, s.audit.take())
}

// A feed that was lost, and documents that change without it, are found by reading all.
func TestFeedLost(t *testing.T) {
	site, store := newMemorySite(t)
	s := site.server(t)
	made, known := issue(t, site.registry(), reader)
	store.LoseFeed()
	s.look(t)
	s.requireHolds(t, made)
	issue(t, site.registry(), reader)
	s.look(t) // its position is not the beginning of another feed
	revoke(t, site.registry(), known.ID)
	store.LoseFeed()
	s.look(t)
	s.requireRefused(t, made)
}

// A request reads no keystore.
func TestRequestsReadMemory(t *testing.T) {
	site, store := newMemorySite(t)
	counted := &silent{Store: store}
	site.store = counted
	made, _ := issue(t, site.registry(), reader)
	s := site.server(t)
	before := counted.calls.Load()
	for range 1000 {
		s.requireHolds(t, made)
		s.requireRefused(t, token.Prefix+made[len(token.Prefix)+1:]+"A")
	}
	require.Equal(t, before, counted.calls.Load())
}

// within is the time in which every server sees a change.
const within = 3 * time.Second

// Servers that share a keystore see each other's tokens and revocations.
func TestServersShareTokens(t *testing.T) {
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
				one := &server{audit: &events{}, log: &lockedBuffer{}}
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
				made, known := issue(t, a.Registry, reader)
				holds := func(s *token.Authenticator) func() bool {
					return func() bool {
						_, err := s.Authenticate(context.Background(), made)
						return err == nil
					}
				}
				require.True(t, holds(a)())
				requireWithin(t, holds(b))
				revoke(t, b.Registry, known.ID)
				require.False(t, holds(b)())
				requireWithin(t, func() bool { return !holds(a)() })
			}
		})
	}
}

// requireWithin waits for an event, and fails if it takes longer than promised on a machine that has time for it.
func requireWithin(t *testing.T, holds func() bool) {
	t.Helper()
	begin := time.Now()
	require.Eventually(t, holds, time.Minute, 10*time.Millisecond)
	if took := time.Since(begin); took > within {
		t.Logf("it took %s: is the machine busy?", took)
	}
}

// Servers that make, use and revoke at once lose nothing, and nothing revoked comes back.
func TestTogether(t *testing.T) {
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
				_ = s.Look(context.Background())
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.NoteUses(context.Background())
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
			kept[i], _ = issue(t, registry, reader)
			var known token.Token
			gone[i], known = issue(t, registry, reader)
			_, _ = s.Authenticate(context.Background(), kept[i])
			revoke(t, registry, known.ID)
		})
	}
	makers.Wait()
	close(stop)
	wg.Wait()
	s.look(t)
	for i := range kept {
		s.requireHolds(t, kept[i])
		s.requireRefused(t, gone[i])
	}
	require.Equal(t, token.Counts{Live: 8, Revoked: 8}, s.Counts())
	require.Empty(t, s.audit.take())
}
