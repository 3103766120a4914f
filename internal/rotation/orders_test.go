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

// journal keeps events, or fails to.
type journal struct {
	mu     sync.Mutex
	events []audit.Event
	broken bool
}

func (j *journal) Record(_ context.Context, events ...audit.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken {
		return audit.ErrUnavailable
	}
	j.events = append(j.events, events...)
	return nil
}

type events = map[audit.Action]map[format.KeyID]rotation.Requester

// take gives who the events are of, by their key and action, and forgets them.
func (j *journal) take() events {
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

// Each change of a key says who ordered it and why, also if another process makes it, long after, and if several people's
// orders joined one rotation.
func TestEventsNameWhoOrdered(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	dir, log := t.TempDir(), &journal{}
	asked := newSite(t, directory(t, dir), store, func(o *rotation.Options) { o.Audit = &journal{broken: true} })
	s := newSite(t, directory(t, dir), store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	first := s.primaries()[classify.PHI]

	_, err = asked.Begin(t.Context(), "tenant", rotation.Order{Class: classify.PHI, Requester: ada})
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.Equal(t, first, s.primaries()[classify.PHI], "nothing is changed that is not on record")
	s.begin(rotation.Order{Class: classify.PHI, Requester: ada})
	s.work()
	second := s.primaries()[classify.PHI]
	require.Equal(t, events{audit.KeyRotate: {second: ada}}, log.take())

	s.begin(rotation.Order{Class: classify.PHI, Requester: grace})
	third := s.primaries()[classify.PHI]
	require.Equal(t, events{audit.KeyRotate: {third: grace}}, log.take())
	s.work()
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Done, s.work().State)
	require.Equal(t, events{audit.KeyDestroy: {first: ada, second: grace}}, log.take())

	s.begin(rotation.Order{Class: classify.PII, Requester: ada})
	back := s.primaries()
	_, err = s.Rollback(t.Context(), "tenant", grace)
	require.NoError(t, err)
	require.Equal(t, events{audit.KeyRotate: {back[classify.PII]: ada}, audit.KeyRollback: {s.primaries()[classify.PII]: grace}}, log.take())

	former := map[format.KeyID]rotation.Requester{back[classify.PII]: ada, s.primaries()[classify.PII]: ada}
	s.begin(rotation.Order{Class: classify.PII, Compromised: true, Requester: ada})
	require.Equal(t, events{audit.KeyRotate: {s.primaries()[classify.PII]: ada}, audit.KeyCompromised: former}, log.take())
}

// An order joins the rotation that is under way: what that one does already is not done again; the rest is, and a rollback
// returns to the primaries from before it.
func TestJoin(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(50)
	before := s.primaries()
	record := s.begin(rotation.Order{Class: classify.PHI})
	phi := s.primaries()[classify.PHI]
	joined := s.begin(rotation.Order{})
	require.Equal(t, record.ID, joined.ID)
	require.Len(t, joined.Keysets, classes)
	require.Equal(t, phi, s.primaries()[classify.PHI], "the cache is not under it yet")
	s.work()
	again := s.begin(rotation.Order{Class: classify.PHI})
	require.Equal(t, record.ID, again.ID)
	require.NotEqual(t, phi, s.primaries()[classify.PHI])
	require.Equal(t, rotation.Grace, s.work().State)
	require.Equal(t, 50, s.under(50))
	require.Len(t, s.record().Former, classes+1)
	_, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	require.Equal(t, before, s.primaries())
	s.reads(50)
}

// Rotations that come more often than former keys are destroyed do not keep any of them for ever.
func TestFrequentRotations(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	for range 8 {
		s.begin(rotation.Order{Class: classify.PHI})
		s.work()
		s.clock.pass(12 * time.Hour)
	}
	require.LessOrEqual(t, len(s.record().Former), 3)
	require.GreaterOrEqual(t, s.states(format.UseCache)[envelope.Destroyed], 4)
	s.reads(10)
}

// A class that becomes compromised while another one waits does not shorten the other's grace period or take away its
// way back, and stays compromised.
func TestCompromisedBesideOthers(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(50)
	before := s.primaries()
	s.begin(rotation.Order{Class: classify.PII})
	s.work()
	s.begin(rotation.Order{Class: classify.PHI, Compromised: true})
	s.begin(rotation.Order{Class: classify.PHI})
	s.work()
	s.clock.pass(s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Grace, s.work().State)
	require.Equal(t, 1, s.states(format.UseCache)[envelope.Destroyed])
	phi := s.primaries()[classify.PHI]
	_, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	require.Equal(t, before[classify.PII], s.primaries()[classify.PII])
	require.Equal(t, phi, s.primaries()[classify.PHI])
	s.reads(50)
}

// What is due by itself is on nobody's order, whoever ordered what was before.
func TestEventsOfWhatIsDue(t *testing.T) {
	t.Parallel()
	log := &journal{}
	s := local(t, func(o *rotation.Options) { o.Audit, o.MaxAge = log, 24*time.Hour })
	s.fill(10)
	s.begin(rotation.Order{Requester: ada})
	s.work()
	log.take()
	before := s.primaries()
	s.clock.pass(25 * time.Hour)
	s.serve(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] })
	primary := s.primaries()[classify.PHI]
	require.Equal(t, rotation.Requester{}, log.take()[audit.KeyRotate][primary])
}

// A keyset that a restore left without a key that seals gets one automatically, also if no age is due.
func TestDueWithoutPrimary(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Audit = &journal{} })
	s.fill(10)
	d, err := s.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	before := d.Keyset(format.UseCache, classify.PHI).Primary()
	err = s.Keyring.Edit(t.Context(), "tenant", func(e *keyring.Edit) error { // as a restore does after a loss
		e.DestroyKeys(map[format.KeyID]bool{before: true})
		return nil
	})
	require.NoError(t, err)
	s.serve(func() bool { return s.primaries()[classify.PHI] != before })
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 0", []byte("v"), classify.PHI, cache.TTL(time.Hour)))
}

// A destruction that fails is on record as that, by the job that was announced, and the next attempt by its own.
func TestFailedDestruction(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys, log := &sealedOff{Store: directory(t, t.TempDir())}, &journal{}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	s.begin(rotation.Order{Class: classify.PHI})
	s.work()
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	keys.broken.Store(true)
	log.take()
	for err == nil {
		_, err = s.RunPending(t.Context())
	}
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	keys.broken.Store(false)
	s.clock.pass(2 * time.Minute)
	require.Equal(t, rotation.Done, s.work().State)
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

// sealedOff is a store of keysets that takes no change of a keyset.
type sealedOff struct {
	keystore.Store
	broken atomic.Bool
}

func (o *sealedOff) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
	if o.broken.Load() && kind == keystore.Keysets {
		return false, keystore.ErrUnavailable
	}
	return o.Store.Swap(ctx, kind, id, old, content, due)
}
