package token_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
)

// discardAudit is for tests that do not check the events.
var discardAudit = token.Audit{Recorder: audit.Discard}

// readGrant is a grant with few scopes.
var readGrant = token.Grant{Name: "the reader's", Tenant: "clinic", Scopes: identity.CacheRead}

// site is a keystore with the keys of an environment.
type site struct {
	store  keystore.Store
	system *keyring.System
}

func newSite(t testing.TB, store keystore.Store) *site {
	t.Helper()
	kek, err := kms.NewLocal(make([]byte, 32))
	require.NoError(t, err)
	ring, err := keyring.New(store, kms.NewSet(kek), "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	system, err := ring.System(t.Context())
	require.NoError(t, err)
	return &site{store, system}
}

func newMemorySite(t testing.TB) (*site, *keystoretest.Memory) {
	memory := keystoretest.NewMemory()
	return newSite(t, memory), memory
}

// registry returns the registry of another process.
func (s *site) registry() *token.Registry { return token.NewRegistry(s.store, s.system) }

// server is a server that polls for changes when the test calls poll.
type server struct {
	*token.Authenticator
	audit *eventLog
	log   *lockedBuffer
}

func (s *site) server(t testing.TB) *server {
	t.Helper()
	one := &server{audit: &eventLog{}, log: &lockedBuffer{}}
	one.Authenticator = token.Load(s.options(one))
	require.NoError(t, one.Poll(t.Context()))
	return one
}

func (s *site) options(one *server) token.Options {
	return token.Options{
		Store: s.store, System: s.system, Audit: one.audit, Log: slog.New(slog.NewJSONHandler(one.log, nil)),
	}
}

func (s *server) poll(t testing.TB) {
	t.Helper()
	require.NoError(t, s.Poll(t.Context()))
}

func (s *server) requireAccepted(t testing.TB, text string) {
	t.Helper()
	_, err := s.Authenticate(t.Context(), text)
	require.NoError(t, err)
}

func (s *server) requireRefused(t testing.TB, bearer string) {
	t.Helper()
	id, err := s.Authenticate(t.Context(), bearer)
	require.Equal(t, identity.ErrUnauthorized, err, "the error has no details")
	require.Zero(t, id)
}

func issue(t testing.TB, r *token.Registry, g token.Grant) (string, token.Token) {
	t.Helper()
	text, made, err := r.Issue(context.Background(), g, discardAudit)
	require.NoError(t, err)
	return text, made
}

func revoke(t testing.TB, r *token.Registry, id string) {
	t.Helper()
	_, err := r.Revoke(context.Background(), id, discardAudit)
	require.NoError(t, err)
}

func list(t testing.TB, r *token.Registry) []token.Token {
	t.Helper()
	tokens, err := r.List(context.Background())
	require.NoError(t, err)
	return tokens
}

func document(t testing.TB, store keystore.Store, name string) []byte {
	t.Helper()
	content, err := store.Get(context.Background(), keystore.Tokens, name)
	require.NoError(t, err)
	return content
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// eventLog is an audit log in memory.
type eventLog struct {
	mu           sync.Mutex
	all          []audit.Event
	fail         error
	beforeRecord func() // called before an event is recorded
}

func (e *eventLog) Record(_ context.Context, events ...audit.Event) error {
	if e.beforeRecord != nil {
		e.beforeRecord()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail == nil {
		e.all = append(e.all, events...)
	}
	return e.fail
}

// take returns the events since the last call.
func (e *eventLog) take() (names []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.all {
		name := one.Action.String() + " " + one.Code
		if state := one.Facts[audit.FactState]; state != "" {
			name += " " + state + " " + string(one.Severity())
		}
		names = append(names, name)
	}
	e.all = nil
	return names
}
