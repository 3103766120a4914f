package rotation

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// simulation is a cache of one tenant and the documents about it. Processes may still use a former key. While its
// sweeps run, processes write and die, and the topology changes.
type simulation struct {
	random     *rand.Rand
	now        int64
	sealsUntil int64 // from this time on, no process seals under the former key
	inUse      bool  // an entry is under the former key
	broken     bool  // an entry does not open
	record     Record
	sweep      Sweep
	id         string // of the topology
}

const simulatedTTL, simulatedGrace = 1000, 5000

func newSimulation(seed uint64) *simulation {
	w := &simulation{random: rand.New(rand.NewPCG(seed, 1)), now: 1_000_000, id: "a", inUse: true}
	w.sealsUntil = w.now + simulatedTTL
	silent := w.now + 1 + simulatedTTL
	f := formerKey{Key: Key{classify.PHI, ID{1}}, UnusedFrom: silent, KeepUntil: silent + simulatedGrace, Compromised: w.random.IntN(2) == 0}
	w.record = Record{ID: "1", Former: []formerKey{f}, Keysets: []Keyset{{Use: format.UseCache, Class: classify.PHI}}}
	return w
}

// write writes an entry under the former key, as a process without access to the keystore may do.
func (w *simulation) write() {
	if w.now < w.sealsUntil && w.random.IntN(2) == 0 {
		w.inUse = true
	}
	if w.random.IntN(20) == 0 {
		w.broken = !w.broken
	}
}

func (w *simulation) step() {
	w.write()
	w.now += w.random.Int64N(600)
	w.write()
}

// visit visits the entry as a sweep does. The process may be killed before the result is saved.
func (w *simulation) visit() {
	n := &tenantResult{failures: map[Failure]int{}}
	f := &w.record.Former[0]
	if w.inUse && f.findingCounts(w.sweep.Number, w.sweep.Started) {
		f.LastFoundIn = w.sweep.Number
	}
	if w.broken {
		n.failures[Failure{Key: f.Key, Code: "authentication_failed"}] = 1
	}
	w.inUse = false
	w.record.addResult(n, w.sweep.Number) // the result is durable before the progress
}

func (w *simulation) topology() kv.Topology {
	if w.random.IntN(10) == 0 {
		w.id = fmt.Sprint(w.random.Int())
		w.inUse = w.inUse || w.now < w.sealsUntil // a replica that took over may have lost re-encrypted entries
	}
	return kv.Topology{ID: w.id, Parts: []string{"p"}, Stable: w.random.IntN(10) > 0}
}

// A key is destroyed only after two complete sweeps that found no entry under it and that started when no process could
// seal under it anymore. In the end, it is destroyed.
func TestKeyIsDestroyedOnlyWhenUnused(t *testing.T) {
	for seed := range uint64(3000) {
		w := newSimulation(seed)
		destroyed := false
		for step := 0; !destroyed; step++ {
			require.Less(t, step, 3000, "seed %d: it is never destroyed", seed)
			if step > 1000 {
				w.broken = false
			}
			w.step()
			if w.random.IntN(30) == 0 {
				w.record.Former[0].Compromised = true
			}
			n := decide(&w.record, &w.sweep, w.now)
			if destroyed = len(n.destroy) > 0; destroyed {
				break
			}
			w.sweep.request(n.sweepNumber, n.fullRate)
			if w.random.IntN(2) == 0 { // requested by another tenant
				w.sweep.request(w.sweep.Number+1, false)
			} else if n.nextCheck != 0 && n.sweepNumber == 0 {
				w.now = max(w.now, n.nextCheck)
			}
			w.now = max(w.now, w.sweep.NotBefore)
			if !w.sweep.shouldBegin(w.now) {
				continue
			}
			w.sweep.begin(w.topology(), w.now)
			w.step()
			w.visit()
			w.step()
			p := w.sweep.findPart("p")
			p.Done = true
			w.sweep.finish(w.topology(), "", w.now)
		}
		f := &w.record.Former[0]
		require.False(t, w.inUse, "seed %d", seed)
		require.Len(t, w.sweep.Complete, 2)
		for _, one := range w.sweep.Complete {
			require.GreaterOrEqual(t, one.Started, w.sealsUntil)
			require.GreaterOrEqual(t, one.Started, f.countsFrom())
			require.Less(t, f.LastFoundIn, one.Number)
			require.Less(t, w.record.UnreadableIn, one.Number)
			require.Equal(t, w.sweep.Topology, one.Topology)
		}
	}
}

// testInput returns input with one second of stale sealing and a grace period of five seconds.
func testInput(sweep uint64, now int64) reconcileInput {
	return reconcileInput{lastSweep: sweep, now: now, maxStaleSealing: 1000, grace: 5000}
}

// testKeyset returns a keyset of the cache with an enabled key for each id. The first key is the primary.
func testKeyset(class classify.Class, epoch uint32, primary byte, others ...byte) envelope.Keyset {
	s := envelope.Keyset{Use: format.UseCache, Class: class, Primaries: []envelope.Primary{{Epoch: epoch, KeyID: format.KeyID{primary}}}}
	for _, id := range append([]byte{primary}, others...) {
		s.Keys = append(s.Keys, envelope.Key{ID: format.KeyID{id}, State: envelope.Enabled})
	}
	slices.SortFunc(s.Keys, func(a, b envelope.Key) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return s
}

func testDocument(keysets ...envelope.Keyset) *envelope.Document {
	return &envelope.Document{Keysets: keysets}
}

// A key that is marked compromised while it waits is destroyed without a grace period. Findings of sweeps count from
// the time when no process could seal under it anymore.
func TestKeyCompromisedInGrace(t *testing.T) {
	r := &Record{}
	r.reconcile(testDocument(testKeyset(classify.PHI, 2, 9, 1)), testInput(5, 200))
	key := Key{classify.PHI, ID{1}}
	require.Equal(t, []formerKey{{Key: key, Epoch: 2, UnusedFrom: 1201, KeepUntil: 6201, AfterSweep: 5}}, r.Former)
	f := r.Former[0]
	require.False(t, f.findingCounts(6, 1200), "a process may still seal")
	require.False(t, f.findingCounts(5, 1201), "the sweep began before the change was durable")
	require.True(t, f.findingCounts(6, 1201))
	require.False(t, f.sweepCounts(6, 6200))
	require.True(t, f.sweepCounts(6, 6201))
	d := testDocument(testKeyset(classify.PHI, 2, 9, 1))
	d.Keysets[0].Key(format.KeyID{1}).State = envelope.Compromised
	r.reconcile(d, testInput(7, 3000))
	require.Equal(t, []formerKey{{Key: key, Epoch: 2, UnusedFrom: 1201, KeepUntil: 6201, AfterSweep: 5, Compromised: true}}, r.Former)
	require.True(t, r.Former[0].sweepCounts(6, 1201))
}

// A former key counts as new if it may have been the primary in between, or if a clock far ahead dated it.
func TestFormerKeyCountsAsNewAfterPromotion(t *testing.T) {
	r := &Record{}
	first := func(epoch uint32, now int64, others ...byte) int64 {
		t.Helper()
		r.reconcile(testDocument(testKeyset(classify.PHI, epoch, 9, others...)), testInput(5, now))
		require.Len(t, r.Former, len(others))
		return r.Former[0].UnusedFrom
	}
	require.EqualValues(t, 1001, first(2, 0, 1))
	require.EqualValues(t, 1001, first(2, 100, 1), "the same key is seen again")
	require.EqualValues(t, 1001, first(3, 200, 1, 2), "another key was the primary in between")
	require.EqualValues(t, 1301, first(5, 300, 1, 2), "any key was the primary in between")
	require.EqualValues(t, 1401, first(2, 400, 1, 2), "the store went back to an earlier state")
	r.reconcile(testDocument(testKeyset(classify.PHI, 3, 1, 2, 9)), testInput(5, 500))
	require.Len(t, r.Former, 2, "a primary is not a former key")
	require.EqualValues(t, 1601, first(4, 600, 1, 2))
	decades := int64(1) << 41
	require.Greater(t, first(9, decades, 1, 2), decades)
	require.EqualValues(t, 1701, first(9, 700, 1, 2), "a clock far ahead dated it")
}

// An order takes effect as soon as the document contains its keys, whichever process wrote them. If that does not
// happen, the order is dropped.
func TestPendingOrderTakesEffectWithDocument(t *testing.T) {
	before, after := testDocument(testKeyset(classify.PHI, 1, 1), testKeyset(classify.PII, 1, 3)), testDocument(testKeyset(classify.PHI, 2, 2, 1), testKeyset(classify.PII, 1, 3))
	selected, err := selectKeysets(&Record{}, before, Order{Requester: Requester{Subject: "ada"}}, 0)
	require.ErrorIs(t, err, ErrKeysetFull, "these keysets cannot be signed")
	require.Empty(t, selected)
	for i := range before.Keysets {
		s := &before.Keysets[i]
		selected = append(selected, Keyset{Use: s.Use, Class: s.Class, FormerPrimary: ID(s.Primary()), Epoch: 2, Requester: Requester{Subject: "ada"}})
	}
	r := &Record{Keysets: []Keyset{{Use: format.UseField}}, ID: "done long ago", Ended: 1}
	r.addPendingOrder(selected, 100)
	require.Empty(t, r.reconcile(before, testInput(5, 200)))
	require.Equal(t, Rotating, decide(r, &Sweep{}, 200).state)
	require.Equal(t, "done long ago", r.ID)

	late := r.reconcile(after, testInput(6, 300))
	require.Equal(t, []audit.Event{event(audit.KeyRotate, Requester{Subject: "ada"}, "", format.UseCache, classify.PHI, ID{2})}, late)
	require.Len(t, r.Keysets, 1)
	require.Equal(t, Keyset{Use: format.UseCache, Class: classify.PHI, FormerPrimary: ID{1}, Epoch: 2, AfterSweep: 6, Requester: Requester{Subject: "ada"}}, r.Keysets[0])
	require.EqualValues(t, []int64{100, 300, 5300, 0}, []int64{r.Begun, r.Rotated, r.GraceUntil, r.Ended})
	require.NotEqual(t, "done long ago", r.ID)
	require.Len(t, r.Pending.Keysets, 1)

	require.Empty(t, r.reconcile(after, testInput(7, 100+forgetOrderAfter+1)))
	require.Nil(t, r.Pending)
	require.Equal(t, Reencrypting, decide(r, &Sweep{Number: 7}, 500).state)
	require.Equal(t, Grace, decide(r, &Sweep{Number: 8, LastComplete: 7}, 500).state)
	require.Equal(t, "ada", r.Former[0].Requester.Subject)

	ahead := &Record{}
	ahead.addPendingOrder(selected, 100+maxAhead.Milliseconds()+1)
	require.Empty(t, ahead.reconcile(before, testInput(5, 100)))
	require.Nil(t, ahead.Pending, "a clock far ahead announced it")

	removed := &Record{}
	removed.reconcile(after, testInput(8, 600))
	require.Len(t, removed.Former, 1)
	removed.State = decide(removed, &Sweep{}, 600).state
	require.Equal(t, Idle, removed.State, "former keys without an order are not a rotation")
	removed.addPendingOrder(selected, 700)
	require.NotEmpty(t, removed.Pending.ID)
}

// An order that joins a rotation keeps the rollback to the first key. If the first key must not seal, the rollback
// leads to the second.
func TestJoinedOrderKeepsRollback(t *testing.T) {
	for state, want := range map[envelope.State]ID{envelope.Enabled: {1}, envelope.Disabled: {2}} {
		t.Run(state.String(), func(t *testing.T) {
			d := testDocument(testKeyset(classify.PHI, 3, 3, 2, 1))
			d.Keysets[0].Key(format.KeyID{1}).State = state
			r := &Record{ID: "first", State: Grace, Keysets: []Keyset{{Use: format.UseCache, Class: classify.PHI, FormerPrimary: ID{1}, Epoch: 2}}}
			r.addPendingOrder([]Keyset{{Use: format.UseCache, Class: classify.PHI, FormerPrimary: ID{2}, Epoch: 3}}, 100)
			r.reconcile(d, testInput(5, 200))
			require.Equal(t, "first", r.ID)
			require.Len(t, r.Keysets, 1)
			require.Equal(t, want, r.Keysets[0].FormerPrimary)
		})
	}
}

// A key that was made by a clock in 2099 is rotated now, and does not delay later rotations.
func TestKeyFromFutureIsRotatedOnce(t *testing.T) {
	const age = 90 * 24 * time.Hour
	now := time.UnixMilli(1_800_000_000_000)
	r := New(Options{MaxAge: age, MaxUses: 10, Now: func() time.Time { return now }})
	s := testKeyset(classify.PHI, 1, 1)
	s.Key(format.KeyID{1}).CreatedAt = now.AddDate(70, 0, 0).UnixMilli()
	require.True(t, r.isDue(&Record{}, &s))
	rotated := testKeyset(classify.PHI, 2, 2, 1)
	rotated.Key(format.KeyID{1}).CreatedAt, rotated.Key(format.KeyID{2}).CreatedAt = s.Key(format.KeyID{1}).CreatedAt, now.UnixMilli()
	used := &Record{Sealed: map[ID]uint64{{2}: 10}}
	require.False(t, r.isDue(&Record{}, &rotated))
	require.False(t, r.isDue(used, &rotated), "the minimum age is not reached")
	now = now.Add(time.Minute)
	require.True(t, r.isDue(used, &rotated))
	require.False(t, r.isDue(&Record{}, &rotated))
	now = now.Add(age)
	require.True(t, r.isDue(&Record{}, &rotated))
}

// A server claims a part if no process holds it or its holder is dead.
func TestClaimPart(t *testing.T) {
	s := &Sweep{}
	require.Nil(t, s.claimablePart("me", nil))
	s.begin(kv.Topology{ID: "a", Parts: []string{"1", "2"}, Stable: true}, 1_000_000)
	dead := map[string]bool{}
	free := func(p *sweepPart) bool { return dead[p.Name] }
	claim := func(name string) {
		t.Helper()
		p := s.claimablePart(name, free)
		require.NotNil(t, p)
		p.Holder = name
	}
	claim("a")
	claim("b")
	require.Equal(t, []string{"a", "b"}, []string{s.Parts[0].Holder, s.Parts[1].Holder})
	require.Nil(t, s.claimablePart("c", free))
	require.Equal(t, &s.Parts[1], s.claimablePart("b", free), "a server continues its own part")
	dead["1"] = true
	claim("c")
	require.Equal(t, "c", s.Parts[0].Holder)
	s.Parts[0].Done, dead["1"] = true, false
	require.Nil(t, s.claimablePart("c", free), "the other part is not done")
	s.Parts[1].Done = true
	require.Nil(t, s.claimablePart("c", free), "all parts are done")
}

// Each fault makes a sweep incomplete. If the topology changed, earlier complete sweeps no longer count.
func TestSweepCompleteness(t *testing.T) {
	stable := kv.Topology{ID: "a", Parts: []string{"1"}, Stable: true}
	moving, other := stable, stable
	moving.Stable, moving.Reason, other.ID = false, "a slot is migrating", "b"
	for name, c := range map[string]struct {
		start, end   kv.Topology
		fault, apart string
		says         string
	}{
		"complete":          {stable, stable, "", "", ""},
		"moving at start":   {moving, stable, "", "", "when the sweep began: a slot is migrating"},
		"moving at end":     {stable, moving, "", "", "when the sweep ended: a slot is migrating"},
		"another topology":  {stable, other, "", "", "topology of the store changed"},
		"a store error":     {stable, stable, "store unavailable", "", "store unavailable"},
		"another cache":     {stable, stable, "", "not in this cache", "not in this cache"},
		"the first reason":  {moving, other, "store unavailable", "", "when the sweep began"},
		"started elsewhere": {other, other, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Sweep{Number: 6, Started: 500_000, Ended: 600_000, LastComplete: 6, Complete: []completeSweep{{6, 500_000, 600_000, "a", 10}, {5, 1, 2, "a", 9}}}
			s.begin(c.start, 1_000_000)
			if c.fault != "" {
				s.markIncomplete(c.fault)
			}
			s.finish(c.end, c.apart, 1_020_000)
			require.False(t, s.Running())
			if c.says != "" {
				require.Contains(t, s.Fault, c.says)
				require.EqualValues(t, 6, s.LastComplete)
				require.EqualValues(t, 1_080_000, s.NotBefore)
				require.EqualValues(t, 8, s.Requested, "another sweep follows")
				require.False(t, s.shouldBegin(1_079_999))
				require.True(t, s.shouldBegin(1_080_000))
				return
			}
			require.Empty(t, s.Fault)
			require.EqualValues(t, 7, s.LastComplete)
			want := 2
			if c.start.ID != "a" {
				want = 1
			}
			require.Len(t, s.Complete, want)
			require.EqualValues(t, 7, s.Complete[0].Number)
		})
	}
}

// The numbers of sweeps grow even if the document is lost.
func TestSweepNumbersGrow(t *testing.T) {
	s := &Sweep{}
	s.begin(kv.Topology{}, 1_800_000_000_000)
	first := s.Number
	s.begin(kv.Topology{}, 1_800_000_000_001)
	require.Equal(t, first+1, s.Number)
	lost := &Sweep{}
	lost.begin(kv.Topology{}, 1_800_000_060_000)
	require.Greater(t, lost.Number, s.Number)
}
