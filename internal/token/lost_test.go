package token_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// A change of a token is recorded before it is made, and is recorded as failed only if it was not made.
func TestChangesAreRecordedFirst(t *testing.T) {
	site, _ := newMemorySite(t)
	s, log := site.server(t), &eventLog{}
	recorded := token.Audit{Recorder: log, Operation: "token test"}
	before := 0
	log.beforeRecord = func() { require.Len(t, list(t, site.registry()), before) }
	text, made, err := s.CreateFirst(t.Context(), recorded)
	require.NoError(t, err)
	require.Equal(t, []any{"coffer", made.ID, "default", "token test"}, []any{log.all[0].Issuer, log.all[0].Subject, log.all[0].Tenant, log.all[0].Operation})
	require.Equal(t, "never", log.all[0].Facts[audit.FactExpires])
	require.Equal(t, made.Scopes.String(), log.all[0].Facts[audit.FactScopes])
	require.Len(t, log.all[0].Facts[audit.FactDigest], 64)
	require.Equal(t, []string{"token.create "}, log.take())
	s.requireAccepted(t, text)
	before = 1
	_, err = s.Revoke(t.Context(), "0123456789abcdef", recorded)
	require.ErrorIs(t, err, token.ErrNoToken)
	require.Empty(t, log.take(), "a refused change is not announced")

	log.fail = audit.ErrUnavailable
	_, _, err = s.Issue(t.Context(), readGrant, recorded)
	require.ErrorIs(t, err, audit.ErrUnavailable)
	_, err = s.Revoke(t.Context(), made.ID, recorded)
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.Len(t, list(t, site.registry()), 1, "nothing is changed without an audit record")
	s.requireAccepted(t, text)
}

// After any fault of the keystore, a change is recorded as failed only if it was not made, and repeating the command
// completes it.
func TestChangesUnderFaults(t *testing.T) {
	for _, fault := range keystoretest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			site, store := newMemorySite(t)
			made, known := issue(t, site.registry(), readGrant)
			n := 0
			site.store = keystoretest.NewFaultyStore(store, func(w keystoretest.Write) keystoretest.Fault {
				if n++; n%2 == 1 {
					return fault
				}
				return keystoretest.NoFault
			})
			log := &eventLog{}
			recorded := token.Audit{Recorder: log, Operation: "token test"}
			s := site.server(t)
			_, err := s.Revoke(t.Context(), known.ID, recorded)
			names := log.take()
			if err == nil {
				require.Equal(t, []string{"token.revoke "}, names)
				s.requireRefused(t, made)
			} else {
				require.Len(t, names, 2)
				s.requireAccepted(t, made)
				revoke(t, s.Registry, known.ID)
			}
			s.poll(t)
			s.requireRefused(t, made)
			n = 0
			text, fresh, err := s.Issue(t.Context(), readGrant, recorded)
			if names = log.take(); err == nil {
				require.Equal(t, []string{"token.create "}, names)
				s.requireAccepted(t, text)
				require.NotNil(t, document(t, store, fresh.ID))
			} else {
				require.Len(t, names, 2)
			}
		})
	}
}

// killedStore is a keystore whose process is killed before its nth write.
type killedStore struct {
	keystore.Store
	left int
}

func (d *killedStore) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	if d.left--; d.left < 0 {
		panic(d)
	}
	return d.Store.Swap(ctx, kind, name, old, document, due)
}

// A command that is killed at any step leaves the state from before or after the change, and can be repeated.
func TestKilledCommandCanBeRepeated(t *testing.T) {
	for steps := range 3 {
		site, store := newMemorySite(t)
		made, known := issue(t, site.registry(), readGrant)
		log := &eventLog{}
		func() {
			defer func() { _ = recover() }()
			registry := token.NewRegistry(&killedStore{store, steps}, site.system)
			_, _, _ = registry.Issue(context.Background(), readGrant, token.Audit{Recorder: log})
			_, _ = registry.Revoke(context.Background(), known.ID, token.Audit{Recorder: log})
		}()
		s := site.server(t)
		require.Zero(t, s.Counts().Altered)
		require.Empty(t, s.audit.take())
		if steps < 2 {
			s.requireAccepted(t, made)
			revoke(t, s.Registry, known.ID)
		}
		s.requireRefused(t, made)
	}
}
