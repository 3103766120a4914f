package rotation_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/badgerkv"
	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
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

// take gives who the events are of, by their key and action, and forgets them.
func (j *journal) take() map[audit.Action]map[format.KeyID]rotation.By {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := map[audit.Action]map[format.KeyID]rotation.By{}
	for _, e := range j.events {
		if all[e.Action] == nil {
			all[e.Action] = map[format.KeyID]rotation.By{}
		}
		all[e.Action][e.KeyID] = rotation.By{Issuer: e.Issuer, Subject: e.Subject, RequestID: e.RequestID}
	}
	j.events = nil
	return all
}

var (
	ada   = rotation.By{Issuer: "api-token", Subject: "ada", RequestID: "request 1"}
	grace = rotation.By{Issuer: "https://provider", Subject: "grace", RequestID: "request 2"}
)

// Each change of a key says on whose order it is made, also where another process makes it, long after, and
// where rotations of several people overlap.
func TestEventsNameWhoOrdered(t *testing.T) {
	t.Parallel()
	store, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	dir, log := t.TempDir(), &journal{}
	asked := newSite(t, directory(t, dir), store, func(o *rotation.Options) { o.Audit = &journal{broken: true} })
	s := newSite(t, directory(t, dir), store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	first := s.primaries()[classify.PHI]

	_, err = asked.Begin(t.Context(), "tenant", rotation.Order{Class: classify.PHI, By: ada})
	require.ErrorIs(t, err, audit.ErrUnavailable, "it is cut off after it was ordered")
	s.work()
	second := s.primaries()[classify.PHI]
	require.Equal(t, map[audit.Action]map[format.KeyID]rotation.By{audit.KeyRotate: {second: ada}}, log.take())

	s.begin(rotation.Order{Class: classify.PHI, By: grace})
	third := s.primaries()[classify.PHI]
	require.Equal(t, map[audit.Action]map[format.KeyID]rotation.By{audit.KeyRotate: {third: grace}}, log.take())
	s.work()
	s.clock.pass(rotation.DefaultGrace + time.Second)
	s.work()
	former := map[format.KeyID]rotation.By{first: ada, second: grace}
	require.Equal(t, map[audit.Action]map[format.KeyID]rotation.By{audit.KeyDisable: former}, log.take())
	s.clock.pass(s.Ring.TTL() + time.Second)
	s.work()
	require.Equal(t, map[audit.Action]map[format.KeyID]rotation.By{audit.KeyDestroy: former}, log.take())

	s.begin(rotation.Order{Class: classify.PII, By: ada})
	back := s.primaries()
	_, err = s.Rollback(t.Context(), "tenant", grace)
	require.NoError(t, err)
	require.Equal(t, map[audit.Action]map[format.KeyID]rotation.By{
		audit.KeyRotate: {back[classify.PII]: ada}, audit.KeyRollback: {s.primaries()[classify.PII]: grace},
	}, log.take())

	former = map[format.KeyID]rotation.By{back[classify.PII]: ada, s.primaries()[classify.PII]: ada}
	s.begin(rotation.Order{Class: classify.PII, Compromised: true, By: ada})
	require.Equal(t, map[audit.Action]map[format.KeyID]rotation.By{
		audit.KeyRotate: {s.primaries()[classify.PII]: ada}, audit.KeyCompromised: former,
	}, log.take())
}

// What is due by itself is on nobody's order, whoever ordered what was before.
func TestEventsOfWhatIsDue(t *testing.T) {
	t.Parallel()
	log := &journal{}
	s := local(t, func(o *rotation.Options) { o.Audit, o.Age = log, 24*time.Hour })
	s.fill(10)
	s.begin(rotation.Order{By: ada})
	s.work()
	log.take()
	before := s.primaries()
	s.clock.pass(25 * time.Hour)
	s.serve(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] })
	primary := s.primaries()[classify.PHI]
	require.Equal(t, rotation.By{}, log.take()[audit.KeyRotate][primary])
}

// What a restore left without a key that seals gets one by itself, also where nothing is due by its age.
func TestDueWithoutPrimary(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Audit = &journal{} })
	s.fill(10)
	d, err := s.Ring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	before := d.Keyset(format.UseCache, classify.PHI).Primary
	d.DestroyKeys(map[format.KeyID]bool{before: true})
	_, _, err = s.Ring.Merge(t.Context(), d)
	require.NoError(t, err)
	s.serve(func() bool { return s.primaries()[classify.PHI] != before })
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 0", []byte("v"), classify.PHI, time.Hour, nil))
}

// A destruction that fails is on record as that, by the job that was announced, and the next try by its own.
func TestFailedDestruction(t *testing.T) {
	t.Parallel()
	store, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys, log := &sealedOff{Store: directory(t, t.TempDir())}, &journal{}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	s.begin(rotation.Order{Class: classify.PHI})
	s.work()
	s.clock.pass(rotation.DefaultGrace + time.Second)
	require.Equal(t, rotation.SecondScan, s.work().State)
	s.clock.pass(s.Ring.TTL() + time.Second)
	keys.broken.Store(true)
	log.take()
	_, _, err = s.Work(t.Context(), "tenant")
	for err == nil {
		_, _, err = s.Work(t.Context(), "tenant")
	}
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	keys.broken.Store(false)
	require.Equal(t, rotation.Done, s.work().State)
	var codes, jobs []string
	for _, e := range log.events {
		codes, jobs = append(codes, e.Action.String()+" "+e.Code), append(jobs, e.Facts[audit.FactJob])
	}
	require.Equal(t, []string{"key.destroy ", "key.destroy keyring_unavailable", "key.destroy "}, codes)
	require.Equal(t, jobs[0], jobs[1])
	require.NotEqual(t, jobs[0], jobs[2])
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
