package rotation_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// eventLog is an audit log in memory that can fail.
type eventLog struct {
	mu     sync.Mutex
	events []audit.Event
	broken bool
}

func (j *eventLog) Record(_ context.Context, events ...audit.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken {
		return audit.ErrUnavailable
	}
	j.events = append(j.events, events...)
	return nil
}

type events = map[audit.Action]map[format.KeyID]rotation.Requester

// takeRequesters returns the requesters of the events by action and key, and clears the log.
func (j *eventLog) takeRequesters() events {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := events{}
	for _, e := range j.events {
		if all[e.Action] == nil {
			all[e.Action] = map[format.KeyID]rotation.Requester{}
		}
		all[e.Action][e.KeyID] = rotation.Requester{Issuer: e.Issuer, Subject: e.Subject, RequestID: e.RequestID, Reason: audit.Reason(e.Facts[audit.FactReason])}
	}
	j.events = nil
	return all
}

var (
	ada   = rotation.Requester{Issuer: "api-token", Subject: "ada", RequestID: "request 1", Reason: audit.ReasonPersonnel}
	grace = rotation.Requester{Issuer: "https://provider", Subject: "grace", RequestID: "request 2", Reason: audit.ReasonIncident}
)

// Each event of a key change names the requester and the reason, even if another process makes the change later, or if
// several orders were joined.
func TestEventsNameRequester(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	dir, log := t.TempDir(), &eventLog{}
	asked := newSite(t, directory(t, dir), store, func(o *rotation.Options) { o.Audit = &eventLog{broken: true} })
	s := newSite(t, directory(t, dir), store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	first := s.primaries()[classify.PHI]

	_, err = asked.Begin(t.Context(), "tenant", rotation.Order{Class: classify.PHI, Requester: ada})
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.Equal(t, first, s.primaries()[classify.PHI], "nothing is changed without an audit record")
	s.begin(rotation.Order{Class: classify.PHI, Requester: ada})
	s.runAll()
	second := s.primaries()[classify.PHI]
	require.Equal(t, events{audit.KeyRotate: {second: ada}}, log.takeRequesters())

	s.begin(rotation.Order{Class: classify.PHI, Requester: grace})
	third := s.primaries()[classify.PHI]
	require.Equal(t, events{audit.KeyRotate: {third: grace}}, log.takeRequesters())
	s.runAll()
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Done, s.runAll().State)
	require.Equal(t, events{audit.KeyDestroy: {first: ada, second: grace}}, log.takeRequesters())

	s.begin(rotation.Order{Class: classify.PII, Requester: ada})
	back := s.primaries()
	_, err = s.Rollback(t.Context(), "tenant", grace)
	require.NoError(t, err)
	require.Equal(t, events{audit.KeyRotate: {back[classify.PII]: ada}, audit.KeyRollback: {s.primaries()[classify.PII]: grace}}, log.takeRequesters())

	former := map[format.KeyID]rotation.Requester{back[classify.PII]: ada, s.primaries()[classify.PII]: ada}
	s.begin(rotation.Order{Class: classify.PII, Compromised: true, Requester: ada})
	require.Equal(t, events{audit.KeyRotate: {s.primaries()[classify.PII]: ada}, audit.KeyCompromised: former}, log.takeRequesters())
}

// An order joins a running rotation: keysets that already have a new primary get no other one, and a rollback returns
// to the primaries from before the rotation.
func TestOrderJoinsRunningRotation(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(50)
	before := s.primaries()
	record := s.begin(rotation.Order{Class: classify.PHI})
	phi := s.primaries()[classify.PHI]
	joined := s.begin(rotation.Order{})
	require.Equal(t, record.ID, joined.ID)
	require.Len(t, joined.Keysets, classes)
	require.Equal(t, phi, s.primaries()[classify.PHI], "the cache is not re-encrypted yet")
	s.runAll()
	again := s.begin(rotation.Order{Class: classify.PHI})
	require.Equal(t, record.ID, again.ID)
	require.NotEqual(t, phi, s.primaries()[classify.PHI])
	require.Equal(t, rotation.Grace, s.runAll().State)
	require.Equal(t, 50, s.entriesUnderPrimary(50))
	require.Len(t, s.record().Former, classes+1)
	_, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	require.Equal(t, before, s.primaries())
	s.requireReadable(50)
}

// If rotations are more frequent than destructions, the former keys are still destroyed in the end.
func TestFrequentRotationsDestroyFormerKeys(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	for range 8 {
		s.begin(rotation.Order{Class: classify.PHI})
		s.runAll()
		s.clock.advance(12 * time.Hour)
	}
	require.LessOrEqual(t, len(s.record().Former), 3)
	require.GreaterOrEqual(t, s.states(format.UseCache)[envelope.Destroyed], 4)
	s.requireReadable(10)
}

// If a class is marked compromised during a rotation of another class, the other class keeps its grace period and its
// rollback, and the first class stays compromised.
func TestCompromisedClassKeepsGraceOfOthers(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(50)
	before := s.primaries()
	s.begin(rotation.Order{Class: classify.PII})
	s.runAll()
	s.begin(rotation.Order{Class: classify.PHI, Compromised: true})
	s.begin(rotation.Order{Class: classify.PHI})
	s.runAll()
	s.clock.advance(s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Grace, s.runAll().State)
	require.Equal(t, 1, s.states(format.UseCache)[envelope.Destroyed])
	phi := s.primaries()[classify.PHI]
	_, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	require.Equal(t, before[classify.PII], s.primaries()[classify.PII])
	require.Equal(t, phi, s.primaries()[classify.PHI])
	s.requireReadable(50)
}

// The events of an automatic rotation name no requester, even if a caller requested the rotation before.
func TestAutomaticRotationHasNoRequester(t *testing.T) {
	t.Parallel()
	log := &eventLog{}
	s := newLocalSite(t, func(o *rotation.Options) { o.Audit, o.MaxAge = log, 24*time.Hour })
	s.fill(10)
	s.begin(rotation.Order{Requester: ada})
	s.runAll()
	log.takeRequesters()
	before := s.primaries()
	s.clock.advance(25 * time.Hour)
	s.serveUntil(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] })
	primary := s.primaries()[classify.PHI]
	require.Equal(t, rotation.Requester{}, log.takeRequesters()[audit.KeyRotate][primary])
}

// A keyset that a restore left without a usable primary gets a new one automatically, even without a maximum age.
func TestKeysetWithoutUsablePrimaryIsDue(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, func(o *rotation.Options) { o.Audit = &eventLog{} })
	s.fill(10)
	d, err := s.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	before := d.Keyset(format.UseCache, classify.PHI).Primary()
	err = s.Keyring.Edit(t.Context(), "tenant", func(e *keyring.Edit) error { // as a restore does after a loss
		e.DestroyKeys(map[format.KeyID]bool{before: true})
		return nil
	})
	require.NoError(t, err)
	s.serveUntil(func() bool { return s.primaries()[classify.PHI] != before })
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 0", []byte("v"), classify.PHI, cache.TTL(time.Hour)))
}

// A failed destruction is recorded as failed under its job, and the next attempt under a new job.
func TestFailedDestructionIsRecorded(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys, log := &readOnlyKeysets{Store: directory(t, t.TempDir())}, &eventLog{}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	s.begin(rotation.Order{Class: classify.PHI})
	s.runAll()
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	keys.broken.Store(true)
	log.takeRequesters()
	for err == nil {
		_, err = s.RunPending(t.Context())
	}
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	keys.broken.Store(false)
	s.clock.advance(2 * time.Minute)
	require.Equal(t, rotation.Done, s.runAll().State)
	var codes, jobs []string
	for _, e := range log.events {
		codes, jobs = append(codes, e.Action.String()+" "+e.Code), append(jobs, e.Facts[audit.FactJob])
	}
	n := len(codes)
	require.Equal(t, []string{"key.destroy keyring_unavailable", "key.destroy "}, codes[n-2:])
	require.Equal(t, "key.destroy ", codes[0])
	require.Equal(t, jobs[n-3], jobs[n-2])
	require.NotEqual(t, jobs[n-2], jobs[n-1])
}

// readOnlyKeysets is a keystore that refuses changes of keysets.
type readOnlyKeysets struct {
	keystore.Store
	broken atomic.Bool
}

func (o *readOnlyKeysets) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
	if o.broken.Load() && kind == keystore.Keysets {
		return false, keystore.ErrUnavailable
	}
	return o.Store.Swap(ctx, kind, id, old, content, due)
}
