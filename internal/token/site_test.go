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

// unrecorded is the log of tests in which it does not matter.
var unrecorded = token.Audit{Recorder: audit.Discard}

// reader is a grant of little.
var reader = token.Grant{Name: "the reader's", Tenant: "clinic", Scopes: identity.CacheRead}

// site is a keystore with the environment's keys.
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

// registry is another process's.
func (s *site) registry() *token.Registry { return token.NewRegistry(s.store, s.system) }

// server is a server that looks for changes when the test says so.
type server struct {
	*token.Authenticator
	audit *events
	log   *lockedBuffer
}

func (s *site) server(t testing.TB) *server {
	t.Helper()
	one := &server{audit: &events{}, log: &lockedBuffer{}}
	one.Authenticator = token.Load(s.options(one))
	require.NoError(t, one.Look(t.Context()))
	return one
}

func (s *site) options(one *server) token.Options {
	return token.Options{
		Store: s.store, System: s.system, Audit: one.audit, Log: slog.New(slog.NewJSONHandler(one.log, nil)),
	}
}

func (s *server) look(t testing.TB) {
	t.Helper()
	require.NoError(t, s.Look(t.Context()))
}

func (s *server) requireHolds(t testing.TB, text string) {
	t.Helper()
	_, err := s.Authenticate(t.Context(), text)
	require.NoError(t, err)
}

func (s *server) requireRefused(t testing.TB, bearer string) {
	t.Helper()
	id, err := s.Authenticate(t.Context(), bearer)
	require.Equal(t, token.ErrUnauthorized, err, "nothing is added to it")
	require.Zero(t, id)
}

func issue(t testing.TB, r *token.Registry, g token.Grant) (string, token.Token) {
	t.Helper()
	text, made, err := r.Issue(context.Background(), g, unrecorded)
	require.NoError(t, err)
	return text, made
}

func revoke(t testing.TB, r *token.Registry, id string) {
	t.Helper()
	_, err := r.Revoke(context.Background(), id, unrecorded)
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

// lockedBuffer is written by several goroutines.
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

// events is an audit log in memory.
type events struct {
	mu   sync.Mutex
	all  []audit.Event
	fail error
	look func() // before an event is taken
}

func (e *events) Record(_ context.Context, events ...audit.Event) error {
	if e.look != nil {
		e.look()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail == nil {
		e.all = append(e.all, events...)
	}
	return e.fail
}

// take returns what was recorded since the last call.
func (e *events) take() (names []string) {
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
