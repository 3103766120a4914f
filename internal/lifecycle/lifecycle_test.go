package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// eventLog is an audit log in memory that can fail.
type eventLog struct {
	all  []audit.Event
	fail error
}

func (l *eventLog) Record(_ context.Context, events ...audit.Event) error {
	if l.fail == nil {
		l.all = append(l.all, events...)
	}
	return l.fail
}

// clock is time.Now, advanced by the test.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time           { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(by time.Duration) { c.ahead.Add(int64(by)) }

// site is a tenant with its keys and cache.
type site struct {
	*lifecycle.Manager
	t      *testing.T
	ring   *keyring.Keyring
	tenant *keyring.Tenant
	cache  *cache.Cache
	store  kv.Store
	clock  clock
	log    eventLog
}

const ttl = time.Hour + rotation.Margin // after this time, a server without access to the keystore seals nothing

func newSite(t *testing.T) *site {
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	keys, err := sqlitekeys.Open(t.TempDir())
	require.NoError(t, err)
	s := &site{t: t}
	s.ring, err = keyring.New(keys, kms.NewSet(kek), "test", keyring.WithTTL(ttl-rotation.Margin))
	require.NoError(t, err)
	t.Cleanup(s.ring.Close)
	s.store, err = sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.store.Close()) })
	s.tenant, err = s.ring.Tenant(t.Context(), "clinic")
	require.NoError(t, err)
	s.cache = cache.New(s.store, seal.NewSealer(s.tenant))
	s.Manager = lifecycle.New(lifecycle.Options{
		Rotator: rotation.New(rotation.Options{
			Keyring: s.ring, Keystore: keys, Store: s.store, Audit: &eventLog{}, Grace: 3 * ttl, Now: s.clock.now,
		}),
		Audit: &s.log, Operation: "keys test",
	})
	return s
}

// makeFormerKey rotates a keyset and returns the key that was the primary.
func (s *site) makeFormerKey(use format.Use) lifecycle.Key {
	s.t.Helper()
	id, err := s.tenant.Primary(context.Background(), use, classify.PHI)
	require.NoError(s.t, err)
	time.Sleep(2 * time.Millisecond) // keys are ordered by the millisecond in which they were made
	_, err = s.tenant.Rotate(s.t.Context(), use, classify.PHI, nil)
	require.NoError(s.t, err)
	return lifecycle.Key{Tenant: "clinic", Use: use, Class: classify.PHI, ID: id}
}

func (s *site) retire(key lifecycle.Key, to envelope.State) error {
	retirement, err := s.Prepare(s.t.Context(), key, to)
	if err != nil {
		return err
	}
	return retirement.Apply(s.t.Context())
}

func (s *site) state(key lifecycle.Key) string {
	s.t.Helper()
	d, err := s.ring.Document(s.t.Context(), key.Tenant)
	require.NoError(s.t, err)
	for _, k := range d.Keyset(key.Use, key.Class).Keys {
		if k.ID == key.ID {
			return k.State.String()
		}
	}
	return "none"
}

// requireRefused checks that a retirement is refused, changes nothing and records nothing.
func (s *site) requireRefused(key lifecycle.Key, to envelope.State, want error, says string) {
	s.t.Helper()
	before, events := s.state(key), len(s.log.all)
	err := s.retire(key, to)
	require.ErrorIs(s.t, err, want)
	require.ErrorContains(s.t, err, says)
	require.Equal(s.t, before, s.state(key))
	require.Len(s.t, s.log.all, events)
}

var uses = []format.Use{format.UseService, format.UseField, format.UseFile} // all but the cache's

// For every use, a former key is disabled and then destroyed, and each change is recorded before it is made. Packages
// under the key are then refused. A repeated retirement changes nothing but is recorded, because the first one may not
// have been.
func TestRetirementIsRecordedAndRepeatable(t *testing.T) {
	for _, use := range uses {
		t.Run(use.String(), func(t *testing.T) {
			s := newSite(t)
			_, err := s.tenant.Primary(t.Context(), use, classify.PHI)
			require.NoError(t, err)
			pkg, err := seal.NewSealer(s.tenant).Seal(t.Context(), nil, seal.Request{Use: use, Class: classify.PHI, Type: format.Text}, []byte("value"))
			require.NoError(t, err)
			opens := func() string {
				_, err := seal.NewSealer(s.tenant).Open(t.Context(), nil, pkg, format.Place{}, envelope.OpenPolicy{Use: use})
				if err == nil {
					return ""
				}
				return codes.Of(err).Code
			}
			key := s.makeFormerKey(use)
			s.clock.advance(ttl)
			require.Empty(t, opens())
			for _, step := range []struct {
				to           envelope.State
				action, code string
			}{{envelope.Disabled, "key.disable", "key_unusable"}, {envelope.Destroyed, "key.destroy", "key_destroyed"}} {
				from := s.state(key)
				require.NoError(t, s.retire(key, step.to))
				require.Equal(t, step.to.String(), s.state(key))
				require.Equal(t, step.code, opens())
				last := s.log.all[len(s.log.all)-1]
				require.NotEmpty(t, last.Facts[audit.FactJob])
				require.Equal(t, audit.Facts{audit.FactJob: last.Facts[audit.FactJob], audit.FactUse: use.String(), audit.FactFrom: from}, last.Facts)
				require.Equal(t, []any{step.action, "keys test", "clinic", classify.PHI, key.ID}, []any{last.Action.String(), last.Operation, last.Tenant, last.Class, last.KeyID})
				require.NoError(t, s.retire(key, step.to))
				last = s.log.all[len(s.log.all)-1]
				require.Equal(t, audit.Facts{audit.FactPhase: "already", audit.FactUse: use.String(), audit.FactFrom: step.to.String()}, last.Facts)
			}
			s.requireRefused(key, envelope.Disabled, lifecycle.ErrState, "already destroyed")
		})
	}
}

// A key is refused for as long as it is needed.
func TestNeededKeysAreRefused(t *testing.T) {
	for _, use := range uses {
		t.Run(use.String(), func(t *testing.T) {
			s := newSite(t)
			key := s.makeFormerKey(use)
			s.requireRefused(key, envelope.Disabled, keyring.ErrInUse, "may seal under the key until")
			s.clock.advance(ttl - time.Minute)
			s.requireRefused(key, envelope.Disabled, keyring.ErrInUse, "may seal under the key until")
			s.clock.advance(time.Minute)
			s.requireRefused(key, envelope.Destroyed, lifecycle.ErrState, "disable it first")
			s.requireRefused(key, envelope.Compromised, lifecycle.ErrState, "on request")
			primary := key
			primary.ID, _ = s.tenant.Primary(t.Context(), use, classify.PHI)
			for _, to := range []envelope.State{envelope.Disabled, envelope.Destroyed} {
				s.requireRefused(primary, to, keyring.ErrInUse, "is the primary")
			}
			for _, other := range []lifecycle.Key{
				{Tenant: "clinic", Use: use, Class: classify.PHI, ID: format.KeyID{1}}, {Tenant: "clinic", Use: use, Class: classify.Public, ID: key.ID},
				{Tenant: "clinic", Use: format.UseStorage, Class: classify.PHI, ID: key.ID},
			} {
				_, err := s.Prepare(t.Context(), other, envelope.Disabled)
				require.ErrorIs(t, err, lifecycle.ErrNoKey)
			}
			_, err := s.Prepare(t.Context(), lifecycle.Key{Tenant: "nobody", Use: use, Class: classify.PHI, ID: key.ID}, envelope.Disabled)
			require.ErrorIs(t, err, keyring.ErrNoTenant)

			require.NoError(t, s.ring.Advance(t.Context(), "clinic", use, classify.PHI, key.ID, envelope.Compromised))
			s.log.fail = errors.New("the disk is full")
			require.ErrorIs(t, s.retire(key, envelope.Destroyed), s.log.fail)
			require.Equal(t, "compromised", s.state(key), "nothing is changed without an audit record")
			s.log.fail = nil
			if use == format.UseFile { // a compromised key can be disabled or destroyed
				require.NoError(t, s.retire(key, envelope.Disabled))
				require.Equal(t, "disabled", s.state(key))
			}
			require.NoError(t, s.retire(key, envelope.Destroyed))
			require.NoError(t, s.ring.Shred(t.Context(), "clinic"))
			_, err = s.Prepare(t.Context(), key, envelope.Destroyed)
			require.ErrorIs(t, err, envelope.ErrKeyDestroyed)
		})
	}
}

// A running rotation keeps the keys to which it can be rolled back. After a rollback, the keys that sealed until then
// are kept for as long as a server may not know of the rollback.
func TestRotationKeepsKeysForRollback(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "k", []byte("v"), classify.PHI))
	keys := map[format.Use]lifecycle.Key{}
	for _, use := range uses {
		id, err := s.tenant.Primary(t.Context(), use, classify.PHI)
		require.NoError(t, err)
		keys[use] = lifecycle.Key{Tenant: "clinic", Use: use, Class: classify.PHI, ID: id}
	}
	begin := func(order rotation.Order) {
		_, err := s.Rotator.Begin(t.Context(), "clinic", order)
		require.NoError(t, err)
	}
	work := func() *rotation.Record {
		for more := true; more; {
			var err error
			more, err = s.Rotator.RunPending(t.Context())
			require.NoError(t, err)
		}
		record, err := s.Rotator.Record(t.Context(), "clinic")
		require.NoError(t, err)
		return record
	}
	begin(rotation.Order{})
	s.clock.advance(2 * ttl)
	for _, use := range uses {
		s.requireRefused(keys[use], envelope.Disabled, keyring.ErrInUse, "its state is reencrypting")
	}
	require.Equal(t, rotation.Grace, work().State)
	s.requireRefused(keys[format.UseFile], envelope.Disabled, keyring.ErrInUse, "its state is grace")

	d, err := s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	newer := keys[format.UseService]
	newer.ID = d.Keyset(format.UseService, classify.PHI).Primary()
	_, err = s.Rotator.Rollback(t.Context(), "clinic", rotation.Requester{})
	require.NoError(t, err)
	s.requireRefused(newer, envelope.Disabled, keyring.ErrInUse, "may seal under the key until")
	s.clock.advance(ttl)
	require.NoError(t, s.retire(newer, envelope.Disabled))

	begin(rotation.Order{})
	s.clock.advance(4*ttl + time.Minute)
	require.Equal(t, rotation.Reencrypting, func() rotation.State { r, _ := s.Rotator.Record(t.Context(), "clinic"); return r.State }())
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "k", []byte("v"), classify.PHI))
	require.Equal(t, rotation.Done, work().State)
	require.NoError(t, s.retire(keys[format.UseFile], envelope.Disabled), "the rotation cannot be rolled back anymore")

	leaked := keys[format.UseField]
	leaked.ID, err = s.tenant.Primary(t.Context(), format.UseField, classify.PHI)
	require.NoError(t, err)
	begin(rotation.Order{Compromised: true})
	s.clock.advance(ttl)
	require.NoError(t, s.retire(leaked, envelope.Destroyed), "a compromised key cannot be rolled back to")
}

// Keys of the cache are refused, with or without entries: one scan can miss entries that move or that a failover
// restores.
func TestKeysOfCacheAreRefused(t *testing.T) {
	s := newSite(t)
	key := s.makeFormerKey(format.UseCache)
	s.clock.advance(2 * ttl)
	s.requireRefused(key, envelope.Disabled, keyring.ErrInUse, "rotations destroy former keys of the cache")
	require.NoError(t, s.ring.Advance(t.Context(), "clinic", key.Use, key.Class, key.ID, envelope.Compromised))
	s.requireRefused(key, envelope.Destroyed, keyring.ErrInUse, "rotations destroy former keys of the cache")
}

// Apply refuses a key that became the primary again after Prepare.
func TestApplyChecksAgain(t *testing.T) {
	s := newSite(t)
	key := s.makeFormerKey(format.UseService)
	s.clock.advance(ttl)
	retirement, err := s.Prepare(t.Context(), key, envelope.Disabled)
	require.NoError(t, err)
	require.NoError(t, s.ring.Edit(t.Context(), "clinic", func(e *keyring.Edit) error { return e.Promote(key.Use, key.Class, key.ID) }))
	require.ErrorIs(t, retirement.Apply(t.Context()), keyring.ErrInUse)
	require.Empty(t, s.log.all)
	require.Equal(t, "enabled", s.state(key))
}

// A warning names the data that no scan sees.
func TestWarningNamesRisks(t *testing.T) {
	for _, use := range uses {
		for _, to := range []envelope.State{envelope.Disabled, envelope.Destroyed} {
			says := (&lifecycle.Retirement{Key: lifecycle.Key{Use: use}, To: to}).Warning()
			require.Contains(t, says, map[envelope.State]string{envelope.Disabled: "never enabled again", envelope.Destroyed: "Only backups"}[to])
			require.Contains(t, says, "No scan sees")
		}
	}
}

func TestDescribeOrdersKeys(t *testing.T) {
	s := newSite(t)
	first := s.makeFormerKey(format.UseCache)
	time.Sleep(2 * time.Millisecond)
	_, err := s.tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	require.NoError(t, s.ring.Edit(t.Context(), "clinic", func(e *keyring.Edit) error { return e.Promote(format.UseCache, classify.PHI, first.ID) }))
	d, err := s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	all := lifecycle.Describe(d, s.Rotator)
	require.Len(t, all, 1)
	require.Equal(t, []string{"clinic", "cache", "phi", fmt.Sprintf("%x", first.ID)}, []string{all[0].Tenant, all[0].Use, all[0].Class, all[0].Primary})
	require.Len(t, all[0].Keys, 3)
	require.Equal(t, all[0].Primary, all[0].Keys[0].ID, "the primary, which is the oldest")
	require.True(t, all[0].Keys[1].CreatedAt.After(all[0].Keys[2].CreatedAt.Time), "then the newest")
	require.Nil(t, all[0].NextRotationAt, "no maximum age is configured")
	text, err := json.Marshal(rotation.TimeFromMilli(1_000))
	require.NoError(t, err)
	require.Equal(t, `"1970-01-01T00:00:01.000Z"`, string(text))
}
