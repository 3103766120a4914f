package rotation

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// world is a cache of one tenant in which a former key may be used, and the documents about it. Its sweeps take
// time, in which processes write, die, and the topology changes.
type world struct {
	random *rand.Rand
	now    int64
	stops  int64 // from then on no process seals under the former key
	under  bool  // an entry is under the key
	broken bool  // an entry does not open
	record Record
	sweep  Sweep
	id     string // of the topology
}

const worldTTL, worldGrace = 1000, 5000

func newWorld(seed uint64) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), now: 1_000_000, id: "a", under: true}
	w.stops = w.now + worldTTL
	f := Former{Key: Key{classify.PHI, ID{1}}, NotBefore: w.now + 1 + worldTTL, Compromised: w.random.IntN(2) == 0}
	if !f.Compromised {
		f.NotBefore += worldGrace
	}
	w.record = Record{
		ID: "1", State: Reencrypting, Former: []Former{f}, Keysets: []Keyset{{Use: format.UseCache, Class: classify.PHI, Made: true}},
	}
	return w
}

// write writes an entry under the former key, as a process may that is cut off.
func (w *world) write() {
	if w.now < w.stops && w.random.IntN(2) == 0 {
		w.under = true
	}
	if w.random.IntN(20) == 0 {
		w.broken = !w.broken
	}
}

func (w *world) pass() {
	w.write()
	w.now += w.random.Int64N(600)
	w.write()
}

// visit visits the entry: it notes it, reseals it, and writes the note down unless the process is killed.
func (w *world) visit() {
	n := &note{failures: map[Failed]int{}}
	f := &w.record.Former[0]
	if w.under && w.record.notes(f.Key, w.sweep.Number, w.sweep.Started) {
		w.record.find(f.Key, w.sweep.Number)
	}
	if w.broken {
		n.failures[Failed{Key: f.Key, Code: "authentication_failed"}] = 1
	}
	w.under = false
	w.record.take(n, w.sweep.Number) // durable before the checkpoint
}

func (w *world) topology() kv.Topology {
	if w.random.IntN(10) == 0 {
		w.id = fmt.Sprint(w.random.Int())
		w.under = w.under || w.now < w.stops // a replica that took over may lack what was resealed
	}
	return kv.Topology{ID: w.id, Parts: []string{"p"}, Stable: w.random.IntN(10) > 0}
}

// A key is destroyed only after two complete sweeps that started when no process sealed under it anymore, and found
// nothing; and it is destroyed in the end.
func TestDestroyedOnlyWhenUnused(t *testing.T) {
	for seed := range uint64(3000) {
		w := newWorld(seed)
		destroyed := false
		for step := 0; !destroyed; step++ {
			require.Less(t, step, 3000, "seed %d: it is never destroyed", seed)
			if step > 1000 {
				w.broken = false
			}
			w.pass()
			n := decide(&w.record, &w.sweep, w.now)
			if destroyed = len(n.destroy) > 0; destroyed {
				break
			}
			w.sweep.request(n.sweep, n.full)
			if w.random.IntN(2) == 0 { // for another tenant
				w.sweep.request(w.sweep.Number+1, false)
			} else if n.next != 0 && n.sweep == 0 {
				w.now = max(w.now, n.next)
			}
			w.now = max(w.now, w.sweep.NotBefore)
			if !w.sweep.begins(w.now) {
				continue
			}
			w.sweep.begin(w.topology(), w.now)
			w.pass()
			w.visit()
			w.pass()
			p := w.sweep.part("p")
			p.Done = true
			w.sweep.judge(w.topology(), "", w.now)
			w.sweep.end(w.now, nil)
		}
		f := &w.record.Former[0]
		require.False(t, w.under, "seed %d", seed)
		require.Len(t, w.sweep.Last, 2)
		for _, one := range w.sweep.Last {
			require.GreaterOrEqual(t, one.Started, w.stops)
			require.GreaterOrEqual(t, one.Started, f.NotBefore)
			require.Less(t, f.FoundIn, one.Number)
			require.Less(t, w.record.UnreadableIn, one.Number)
			require.Equal(t, w.sweep.Topology, one.Topology)
		}
	}
}

// A key that became compromised while it waited is destroyed without the grace period, but no sweep counts that began
// before the change was announced.
func TestCompromisedLater(t *testing.T) {
	key := Key{classify.PHI, ID{1}}
	r := &Record{
		State: Rotating, Former: []Former{{Key: key, NotBefore: 9000, After: 1}},
		Keysets: []Keyset{{Use: format.UseCache, Class: classify.PHI, Compromised: true, Epoch: 2}},
	}
	require.True(t, r.notes(key, 5, 100), "a change is announced: it may count")
	r.made(documentOf(key), 5, 200, 1000, 5000)
	f := r.former(key)
	require.Equal(t, Former{Key: key, NotBefore: 1201, After: 5, Compromised: true}, *f)
	require.False(t, f.counts(5, 1300), "it began before the change was durable")
	require.False(t, f.counts(6, 1200), "a process may still seal")
	require.True(t, f.counts(6, 1201))
	require.False(t, r.notes(key, 5, 1300))
}

// documentOf is a document with a former key of the cache that is compromised.
func documentOf(key Key) *envelope.Document {
	return &envelope.Document{Keysets: []envelope.Keyset{{
		Use: format.UseCache, Class: key.Class, Primaries: []envelope.Primary{{Epoch: 3, KeyID: format.KeyID{9}}},
		Keys: []envelope.Key{{ID: format.KeyID(key.ID), State: envelope.Compromised}, {ID: format.KeyID{9}, State: envelope.Enabled}},
	}}}
}

// A server claims a part that nobody holds, or whose holder is dead, and the closing part after all others.
func TestClaim(t *testing.T) {
	s := &Sweep{}
	require.Nil(t, s.claim("me", nil))
	s.begin(kv.Topology{ID: "a", Parts: []string{"1", "2"}, Stable: true}, 1_000_000)
	dead := map[string]bool{}
	free := func(p *Part) bool { return dead[p.Name] }
	claim := func(name string) {
		t.Helper()
		p := s.claim(name, free)
		require.NotNil(t, p)
		p.Holder = name
	}
	claim("a")
	claim("b")
	require.Equal(t, []string{"a", "b"}, []string{s.Parts[0].Holder, s.Parts[1].Holder})
	require.Nil(t, s.claim("c", free))
	require.Equal(t, &s.Parts[1], s.claim("b", free), "it continues its own")
	dead["1"] = true
	claim("c")
	require.Equal(t, "c", s.Parts[0].Holder)
	s.Parts[0].Done, dead["1"] = true, false
	require.Nil(t, s.claim("c", free), "the other part is not done")
	s.Parts[1].Done = true
	claim("c")
	require.Equal(t, "c", s.Closing.Holder)
	require.Nil(t, s.claim("a", free))
	dead[""] = true
	claim("a")
	require.Equal(t, "a", s.Closing.Holder)
}

// Each thing that makes a sweep incomplete does so, and the complete sweeps before it count no more if the topology changed.
func TestJudge(t *testing.T) {
	stable := kv.Topology{ID: "a", Parts: []string{"1"}, Stable: true}
	moving, other := stable, stable
	moving.Stable, moving.Reason, other.ID = false, "a slot is migrating", "b"
	for name, c := range map[string]struct {
		start, end   kv.Topology
		fault, apart string
		says         string
	}{
		"complete":          {stable, stable, "", "", ""},
		"moving at start":   {moving, stable, "", "", "when it began: a slot is migrating"},
		"moving at end":     {stable, moving, "", "", "when it ended: a slot is migrating"},
		"another topology":  {stable, other, "", "", "topology of the store changed"},
		"a store error":     {stable, stable, "store unavailable", "", "store unavailable"},
		"another cache":     {stable, stable, "", "not in this cache", "not in this cache"},
		"the first reason":  {moving, other, "store unavailable", "", "when it began"},
		"started elsewhere": {other, other, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Sweep{Number: 6, Started: 500_000, Ended: 600_000, Swept: 6, Last: []Finished{{6, 500_000, 600_000, "a", 10}, {5, 1, 2, "a", 9}}}
			s.begin(c.start, 1_000_000)
			if c.fault != "" {
				s.fault(c.fault)
			}
			s.judge(c.end, c.apart, 1_010_000)
			s.end(1_020_000, nil)
			require.False(t, s.Running())
			if c.says != "" {
				require.Contains(t, s.Fault, c.says)
				require.EqualValues(t, 6, s.Swept)
				require.EqualValues(t, 1_080_000, s.NotBefore)
				s.request(8, false)
				require.False(t, s.begins(1_079_999))
				require.True(t, s.begins(1_080_000))
				return
			}
			require.Empty(t, s.Fault)
			require.EqualValues(t, 7, s.Swept)
			want := 2
			if c.start.ID != "a" {
				want = 1
			}
			require.Len(t, s.Last, want)
			require.EqualValues(t, 7, s.Last[0].Number)
		})
	}
}

// The numbers of sweeps grow, also if the document was lost.
func TestNumbersGrow(t *testing.T) {
	s := &Sweep{}
	s.begin(kv.Topology{}, 1_800_000_000_000)
	first := s.Number
	s.begin(kv.Topology{}, 1_800_000_000_001)
	require.Equal(t, first+1, s.Number)
	lost := &Sweep{}
	lost.begin(kv.Topology{}, 1_800_000_060_000)
	require.Greater(t, lost.Number, s.Number)
}
