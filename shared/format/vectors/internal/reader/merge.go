package reader

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Merge merges two documents (section 8).
func (r *DocumentReader) Merge(a, b *Document) (merged []byte, code Code) {
	code = refusal(func() { merged = r.merge(a, b) })
	return merged, code
}

func (r *DocumentReader) merge(a, b *Document) []byte {
	r.requireCode(a.Owner == b.Owner, invalid, "merge of two owners")
	r.requireCode(a.Environment == b.Environment, invalid, "merge of two environments")
	encoding := func(x, y *record) int { return strings.Compare(x.body+x.mac, y.body+y.mac) }
	generation := func(x, y *record) int { return cmp.Compare(x.root.generation, y.root.generation) }
	rootID := func(x, y *record) int { return strings.Compare(x.root.id, y.root.id) }
	id := func(x *record) string { return x.id }
	m := &Document{Environment: a.Environment, Owner: a.Owner}
	m.shreds = r.union("shred records", a.shreds, b.shreds, id, criterion{"encoding", encoding})
	m.retired = r.union("retired slots", a.retired, b.retired, func(x *record) string { return x.root.String() + x.id }, criterion{"encoding", encoding})
	m.slots = r.union("slots", a.slots, b.slots, id, criterion{"generation", generation}, criterion{"root id", rootID}, criterion{"encoding", encoding})
	sets := map[string]*set{}
	for _, s := range slices.Concat(a.keysets, b.keysets) {
		both := sets[s.place()]
		if both == nil {
			both = &set{use: s.use, class: s.class}
			sets[s.place()] = both
		}
		both.primaries = r.union("primaries", both.primaries, s.primaries, func(x *record) string { return x.root.line },
			criterion{"generation", generation}, criterion{"epoch", func(x, y *record) int { return cmp.Compare(x.epoch, y.epoch) }},
			criterion{"key id", func(x, y *record) int { return strings.Compare(x.keyID, y.keyID) }}, criterion{"encoding", encoding})
		both.keys = r.union("keys", both.keys, s.keys, id,
			criterion{"destroyed", func(x, y *record) int { return cmp.Compare(x.state/Destroyed, y.state/Destroyed) }}, criterion{"generation", generation},
			criterion{"root id", rootID}, criterion{"encoding", encoding}) // a greater encoding has the later state
	}
	for _, place := range slices.Sorted(maps.Keys(sets)) {
		m.keysets = append(m.keysets, *sets[place])
	}
	r.prune(m)
	r.requireCode(len(m.slots) <= 256, tooLarge, "merge of slots")
	r.requireCode(len(m.retired) <= 4096, tooLarge, "merge of retired slots")
	r.requireCode(len(m.shreds) <= 64, tooLarge, "merge of shred records")
	for _, s := range m.keysets {
		r.requireCode(len(s.primaries) <= 16, tooLarge, "merge of primaries")
		r.requireCode(len(s.keys) <= 1024, tooLarge, "merge of keys")
	}
	encoded := m.Bytes()
	r.requireCode(len(encoded) <= 262144, tooLarge, "size of a merge")
	if r.keeps("merge is a document") && refusal(func() { (&DocumentReader{}).document(string(encoded)) }) != "" {
		panic(invalid)
	}
	return encoded
}

// criterion compares two records by one property.
type criterion struct {
	name    string
	compare func(x, y *record) int
}

// union merges two lists. Of two records with one id, the first criterion in which they differ decides.
func (r *DocumentReader) union(kind string, a, b []record, id func(*record) string, ties ...criterion) (list []record) {
	chosen := map[string]*record{}
	for _, x := range slices.Concat(a, b) {
		if y := chosen[id(&x)]; y == nil || r.prefers(kind, ties, &x, y) {
			chosen[id(&x)] = &x
		}
	}
	for _, id := range slices.Sorted(maps.Keys(chosen)) {
		list = append(list, *chosen[id])
	}
	return list
}

func (r *DocumentReader) prefers(kind string, ties []criterion, x, y *record) bool {
	for _, t := range ties {
		if !r.keeps("tie of " + kind + ": " + t.name) {
			continue
		}
		if c := t.compare(x, y); c != 0 {
			return c > 0
		}
	}
	return false
}

// prune removes void records and keysets without keys.
func (r *DocumentReader) prune(m *Document) {
	shredded, gone := map[string]bool{}, map[string]bool{}
	for i := range m.shreds {
		shredded[m.shreds[i].id] = true
	}
	highest := r.generations(m)
	void := func(kind int) func(record) bool {
		return func(x record) bool {
			return shredded[x.root.line] && r.keeps("merge of "+kindNames[kind]+" of a shredded line") ||
				kind < 2 && x.root.generation < highest[x.root.line] && r.keeps("merge of "+kindNames[kind]+" of a replaced root")
		}
	}
	for i := range m.retired {
		gone[m.retired[i].body] = true
	}
	m.slots = slices.DeleteFunc(m.slots, func(x record) bool { return gone[x.id+x.root.String()] && r.keeps("merge of a slot that was retired") })
	m.slots, m.retired = slices.DeleteFunc(m.slots, void(0)), slices.DeleteFunc(m.retired, void(1))
	for i := range m.keysets {
		s := &m.keysets[i]
		s.primaries, s.keys = slices.DeleteFunc(s.primaries, void(2)), slices.DeleteFunc(s.keys, void(3))
	}
	m.keysets = slices.DeleteFunc(m.keysets, func(s set) bool { return len(s.keys) == 0 && r.keeps("merge of a keyset without keys") })
}
