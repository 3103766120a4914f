package main

import (
	"encoding/binary"
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// documentParts holds the encoded records of a document. They are not checked, so that a document can break one rule and
// follow all others.
type documentParts struct{ slots, groups, shreds, keysets [][]byte }

type namedParts struct {
	name string
	documentParts
}

func counted(list [][]byte) []byte {
	return slices.Concat(binary.BigEndian.AppendUint16(nil, uint16(len(list))), slices.Concat(list...))
}

func (p documentParts) bytes() []byte {
	return slices.Concat([]byte("CFK\x01"), entries("test", "tenant"), counted(p.slots), counted(p.groups), counted(p.shreds), counted(p.keysets))
}

// numbered returns 32 bytes that end with n.
func numbered(n int) (b [32]byte) {
	binary.BigEndian.PutUint16(b[30:], uint16(n))
	return b
}

// rootIn returns a root of a line and generation.
func rootIn(line byte, generation uint32) envelope.Root {
	return envelope.Root{Line: [16]byte{line}, Generation: generation, ID: numbered(int(generation))}
}

func someSlot(n int, root envelope.Root) []byte {
	id := numbered(n)
	s := envelope.Slot{
		ID: [16]byte(id[16:]), Kind: envelope.SlotKMS, Root: root, URL: "x", Wrapped: []byte{1}, MAC: [envelope.MACSize]byte{1},
	}
	return s.Append(nil)
}

func someGroup(root envelope.Root, ids ...int) []byte {
	b := slices.Concat(root.Line[:], binary.BigEndian.AppendUint32(nil, root.Generation), root.ID[:])
	b = binary.BigEndian.AppendUint16(b, uint16(len(ids)))
	for _, n := range ids {
		id := numbered(n)
		b = slices.Concat(b, id[16:], []byte{1}, make([]byte, 15))
	}
	return b
}

func someShred(line int) []byte {
	return slices.Concat([]byte{byte(line)}, make([]byte, 23), []byte{1}, make([]byte, 31))
}

// someKeyset returns a keyset with one destroyed key and its primary in each of the first lines. The generations of the
// primaries' roots and the keys' roots may differ.
func someKeyset(lines int, ofPrimaries, ofKeys uint32) []byte {
	var primaries, keys [][]byte
	for n := range lines {
		p := envelope.Primary{Root: rootIn(byte(n), ofPrimaries), Epoch: 1, KeyID: numbered(n), MAC: [envelope.MACSize]byte{1}}
		k := envelope.Key{ID: numbered(n), State: envelope.Destroyed, Root: rootIn(byte(n), ofKeys), MAC: [envelope.MACSize]byte{1}}
		primaries, keys = append(primaries, p.Append(nil)), append(keys, k.Append(nil))
	}
	return slices.Concat([]byte{byte(format.UseCache), byte(classify.PHI)}, counted(primaries), counted(keys))
}

func some(count int, one func(n int) []byte) (list [][]byte) {
	for n := range count {
		list = append(list, one(n))
	}
	return list
}

// Sizes of the records of someKeyset in bytes.
const (
	primarySize = envelope.RootSize + 4 + format.KeyIDSize + envelope.MACSize
	keySize     = format.KeyIDSize + 1 + 8 + envelope.RootSize + 2 + envelope.MACSize
)

// swapRecords returns b with two adjacent records swapped: both have size bytes, and the first one begins at offset at.
func swapRecords(b []byte, at, size int) []byte {
	return slices.Concat(b[:at], b[at+size:][:size], b[at:][:size], b[at+2*size:])
}

// badRecordOrders returns documents that break a rule about several records, although each record is valid.
func badRecordOrders() (list []vectors.Malformed) {
	one := func(b ...[]byte) [][]byte { return b }
	add := func(name string, good, bad documentParts) {
		must(envelope.ParseDocument(good.bytes()))
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: bad.bytes()}, Code: envelope.ErrMalformed.Code()})
	}
	former, root := rootIn(0, 1), rootIn(0, 2)
	slot := func(n int) []byte { return someSlot(n, former) }
	set := one(someKeyset(1, 1, 1))
	add("one shred record too many", documentParts{shreds: some(64, someShred)}, documentParts{shreds: some(65, someShred)})
	add("one primary too many", documentParts{keysets: one(someKeyset(16, 1, 1))}, documentParts{keysets: one(someKeyset(17, 1, 1))})
	add("an empty group of retired slots", documentParts{groups: one(someGroup(root, 1))}, documentParts{groups: one(someGroup(root))})
	add("a keyset of no keys and no primaries", documentParts{keysets: one(someKeyset(1, 1, 1))}, documentParts{keysets: one(someKeyset(0, 1, 1))})
	crossed := someKeyset(2, 1, 1)
	crossed[2+2+envelope.RootSize+4+31] = 1 // last byte of the first primary's key id
	add("primary that names a key of another line", documentParts{keysets: one(someKeyset(2, 1, 1))}, documentParts{keysets: one(crossed)})
	nothing := someSlot(1, former)
	nothing[16] = 0
	add("slot of kind 0 in a document", documentParts{slots: one(someSlot(1, former))}, documentParts{slots: one(nothing)})
	two, half := someKeyset(2, 1, 1), 2+2+2*primarySize
	field := slices.Concat([]byte{byte(format.UseField), byte(classify.Public)}, set[0][2:])
	add("keysets in the wrong order of uses", documentParts{keysets: one(set[0], field)}, documentParts{keysets: one(field, set[0])})
	add("keys in the wrong order", documentParts{keysets: one(two)}, documentParts{keysets: one(swapRecords(two, half+2, keySize))})
	add("primaries in the wrong order", documentParts{keysets: one(two)}, documentParts{keysets: one(swapRecords(two, 4, primarySize))})
	add("primary twice", documentParts{keysets: one(someKeyset(1, 1, 1))}, documentParts{keysets: one(slices.Concat(
		set[0][:2], []byte{0, 2}, set[0][4:][:primarySize], set[0][4:]))})
	add("primary of a line without keys", documentParts{keysets: one(two)}, documentParts{keysets: one(slices.Concat(
		two[:half], []byte{0, 1}, two[half+2:][:keySize]))})
	add("group of retired slots twice", documentParts{groups: one(someGroup(former, 1, 2))}, documentParts{groups: one(someGroup(former, 1), someGroup(former, 2))})
	add("retired slots alone of no generation", documentParts{groups: one(someGroup(former, 1))}, documentParts{groups: one(someGroup(rootIn(0, 0), 1))})
	for _, p := range []namedParts{
		{"slot", documentParts{slots: one(slot(1))}}, {"retired slot", documentParts{groups: one(someGroup(former, 1))}}, {"keyset", documentParts{keysets: set}},
	} {
		good, bad := p.documentParts, p.documentParts
		good.shreds, bad.shreds = one(someShred(1)), one(someShred(0))
		add(p.name+" of a shredded line", good, bad)
	}
	slots, groups := one(slot(1)), one(someGroup(former, 1))
	for _, p := range []namedParts{
		{"slot and a newer slot", documentParts{slots: one(slot(1), someSlot(2, root))}},
		{"slot and a newer retired slot", documentParts{slots: slots, groups: one(someGroup(root, 2))}},
		{"slot and a newer primary", documentParts{slots: slots, keysets: one(someKeyset(1, 2, 1))}},
		{"slot and a newer key", documentParts{slots: slots, keysets: one(someKeyset(1, 1, 2))}},
		{"retired slot and a newer slot", documentParts{groups: groups, slots: one(someSlot(2, root))}},
		{"retired slot and a newer one", documentParts{groups: one(groups[0], someGroup(root, 2))}},
		{"retired slot and a newer key", documentParts{groups: groups, keysets: one(someKeyset(1, 1, 2))}},
	} {
		add(p.name, documentParts{}, p.documentParts)
	}
	return list
}

// mergePriorities returns pairs of records with one id. Every criterion after the deciding one would choose the other
// record.
func mergePriorities() (list []vectors.Merge) {
	add := func(name string, winner, other documentParts) {
		a, b := must(envelope.ParseDocument(winner.bytes())), must(envelope.ParseDocument(other.bytes()))
		merged, err := envelope.Merge(a, b)
		if err != nil {
			list = append(list, vectors.Merge{
				Name: name, A: vectors.Data{Hex: winner.bytes()}, B: vectors.Data{Hex: other.bytes()}, Code: err.(coded).Code(),
			})
			return
		}
		list = append(list, vectors.Merge{
			Name: name, A: vectors.Data{Hex: winner.bytes()}, B: vectors.Data{Hex: other.bytes()}, Merged: &vectors.Data{Hex: must(merged.Append(nil))},
		})
	}
	one := func(b ...[]byte) [][]byte { return b }
	root := func(line byte, generation uint32, id int) envelope.Root {
		return envelope.Root{Line: [16]byte{line}, Generation: generation, ID: numbered(id)}
	}
	slot := func(root envelope.Root, at int64) documentParts {
		s := envelope.Slot{Kind: envelope.SlotKMS, CreatedAt: at, Root: root, URL: "x", Wrapped: []byte{1}, MAC: [envelope.MACSize]byte{1}}
		return documentParts{slots: [][]byte{s.Append(nil)}}
	}
	add("slots of one id: the higher generation", slot(root(1, 2, 1), 1), slot(root(2, 1, 2), 2))
	add("slots of one id: the greater root id", slot(root(1, 1, 2), 1), slot(root(2, 1, 1), 2))
	add("slots of one id: the greater encoding", slot(root(1, 1, 1), 2), slot(root(1, 1, 1), 1))
	keyset := func(p envelope.Primary, k envelope.Key) documentParts {
		p.Root, p.KeyID, p.MAC, k.MAC = k.Root, k.ID, [envelope.MACSize]byte{1}, [envelope.MACSize]byte{1}
		if k.State != envelope.Destroyed {
			k.Wrapped = make([]byte, envelope.WrappedSize)
		}
		set := slices.Concat([]byte{byte(format.UseCache), byte(classify.PHI)}, counted([][]byte{p.Append(nil)}), counted([][]byte{k.Append(nil)}))
		return documentParts{keysets: [][]byte{set}}
	}
	primary := func(root envelope.Root, epoch uint32, id int) documentParts {
		return keyset(envelope.Primary{Epoch: epoch}, envelope.Key{ID: numbered(id), State: envelope.Destroyed, Root: root})
	}
	key := func(root envelope.Root, state envelope.State) documentParts {
		return keyset(envelope.Primary{Epoch: 1}, envelope.Key{State: state, Root: root})
	}
	add("primaries: the higher generation", primary(root(1, 2, 1), 1, 1), primary(root(1, 1, 2), 2, 2))
	add("primaries: the higher epoch", primary(root(1, 1, 1), 2, 1), primary(root(1, 1, 2), 1, 2))
	add("primaries: the greater key id", primary(root(1, 1, 1), 1, 2), primary(root(1, 1, 2), 1, 1))
	add("keys of one id: the higher generation", key(root(1, 2, 1), envelope.Enabled), key(root(1, 1, 2), envelope.Disabled))
	add("keys of one id: the greater root id", key(root(1, 1, 2), envelope.Enabled), key(root(1, 1, 1), envelope.Disabled))
	add("keys of one id in two lines: no document", primary(root(1, 1, 1), 1, 1), primary(root(2, 1, 1), 1, 1))
	greater := someGroup(root(1, 1, 1), 1)
	greater[len(greater)-1] = 1
	add("a slot and a retired slot of its id and another root: both", slot(root(1, 1, 1), 1), documentParts{groups: one(someGroup(root(1, 1, 2), 0))})
	field := slices.Concat([]byte{byte(format.UseField), byte(classify.Public)}, someKeyset(1, 1, 1)[2:])
	add("keysets of two uses", documentParts{keysets: one(field)}, documentParts{keysets: one(someKeyset(1, 1, 1))})
	add("one of two lines of a keyset was shredded", documentParts{keysets: one(someKeyset(2, 1, 1))}, documentParts{shreds: one(someShred(0))})
	add("retired slots of one root and id: the greater encoding", documentParts{groups: one(greater)}, documentParts{groups: one(someGroup(root(1, 1, 1), 1))})
	add("retired slots of one id and two roots: both", documentParts{groups: one(someGroup(root(1, 1, 1), 1))}, documentParts{groups: one(someGroup(root(1, 1, 2), 1))})
	return list
}
