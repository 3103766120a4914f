package main

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// documentRuns holds the lists of a document as runs. Each list begins with its count.
type documentRuns struct{ slots, groups, shreds, keysets []vectors.Run }

func (c documentRuns) data() vectors.Data { return c.of("test", "tenant") }

func (c documentRuns) of(environment, owner string) vectors.Data {
	d := vectors.Data{Hex: slices.Concat([]byte("CFK\x01"), entries(environment, owner))}
	for _, list := range [][]vectors.Run{c.slots, c.groups, c.shreds, c.keysets} {
		if list == nil {
			list = countedRuns(0)
		}
		for _, r := range list {
			if r.Count == 0 {
				d.Runs = append(d.Runs, compressRuns(r.Hex)...)
			} else {
				d.Runs = append(d.Runs, r)
			}
		}
	}
	return d
}

// compressRuns returns b as runs: a long sequence of one byte becomes a run of that byte.
func compressRuns(b []byte) (list []vectors.Run) {
	const long = 64
	begin := 0
	for at := 0; at < len(b); {
		end := at
		for end < len(b) && b[end] == b[at] {
			end++
		}
		if end-at > long {
			if begin < at {
				list = append(list, vectors.Run{Hex: b[begin:at]})
			}
			list, begin = append(list, vectors.Run{Hex: b[at : at+1], Count: end - at}), end
		}
		at = end
	}
	if begin < len(b) {
		list = append(list, vectors.Run{Hex: b[begin:]})
	}
	return list
}

// countedRuns returns list after a count of two bytes.
func countedRuns(count int, list ...vectors.Run) []vectors.Run {
	return append([]vectors.Run{{Hex: binary.BigEndian.AppendUint16(nil, uint16(count))}}, list...)
}

// repeatRecord returns a run of count copies of a record. Each copy has its number in the last two bytes of its id, which
// ends at idEnd.
func repeatRecord(count int, record []byte, idEnd int) vectors.Run {
	return vectors.Run{Hex: record, Count: count, At: idEnd - 2}
}

// withSide replaces the first byte of a record's id, so that two documents have different ids.
func withSide(side byte, record []byte) []byte { return slices.Concat([]byte{side}, record[1:]) }

func manySlots(count int, side byte, wrapped int) []vectors.Run {
	s := envelope.Slot{Kind: envelope.SlotKMS, Root: rootIn(0, 1), URL: "x", Wrapped: make([]byte, wrapped), MAC: [envelope.MACSize]byte{1}}
	return countedRuns(count, repeatRecord(count, withSide(side, s.Append(nil)), len(s.ID)))
}

func manyRetired(side byte, counts ...int) []vectors.Run {
	list := countedRuns(len(counts))
	for i, count := range counts {
		one := someGroup(envelope.Root{Line: [16]byte{side}, Generation: 1, ID: numbered(i)}, 0)
		head := slices.Clone(one[:envelope.RootSize])
		list = append(list, vectors.Run{Hex: binary.BigEndian.AppendUint16(head, uint16(count))}, repeatRecord(count, one[envelope.RootSize+2:], 16))
	}
	return list
}

func manyShreds(count int, side byte) []vectors.Run {
	return countedRuns(count, vectors.Run{Hex: withSide(side, someShred(0)), Count: count, At: 14})
}

// manyKeys returns a keyset with count keys of one line. The first key is the primary.
func manyKeys(count int, side byte) []vectors.Run {
	id := format.KeyID(withSide(side, make([]byte, format.KeyIDSize)))
	p := envelope.Primary{Root: rootIn(0, 1), Epoch: 1, KeyID: id, MAC: [envelope.MACSize]byte{1}}
	k := envelope.Key{ID: id, State: envelope.Destroyed, Root: rootIn(0, 1), MAC: [envelope.MACSize]byte{1}}
	head := slices.Concat([]byte{byte(format.UseCache), byte(classify.PHI)}, counted([][]byte{p.Append(nil)}), binary.BigEndian.AppendUint16(nil, uint16(count)))
	return countedRuns(1, vectors.Run{Hex: head}, repeatRecord(count, k.Append(nil), len(id)))
}

// manyPrimaries returns a keyset with count lines, each with one key.
func manyPrimaries(count int, side byte) []vectors.Run {
	var primaries, keys [][]byte
	for n := range count {
		root, id := rootIn(side, 1), format.KeyID(withSide(side, slices.Concat(make([]byte, 31), []byte{byte(n)})))
		root.Line[15] = byte(n)
		p := envelope.Primary{Root: root, Epoch: 1, KeyID: id, MAC: [envelope.MACSize]byte{1}}
		k := envelope.Key{ID: id, State: envelope.Destroyed, Root: root, MAC: [envelope.MACSize]byte{1}}
		primaries, keys = append(primaries, p.Append(nil)), append(keys, k.Append(nil))
	}
	set := slices.Concat([]byte{byte(format.UseCache), byte(classify.PHI)}, counted(primaries), counted(keys))
	return countedRuns(1, vectors.Run{Hex: set})
}

// allKeysets returns a keyset of every use and class.
func allKeysets() []vectors.Run {
	var list []vectors.Run
	for use := format.UseStorage; use <= envelope.UseAudit; use++ {
		for class := range classify.PHI + 1 {
			if (use < envelope.UseNames) == (class > 0) {
				list = append(list, vectors.Run{Hex: slices.Concat([]byte{byte(use), byte(class)}, someKeyset(1, 1, 1)[2:])})
			}
		}
	}
	return countedRuns(len(list), list...)
}

// fillerSize is the size of the slots that fill a document, in bytes.
const fillerSize = 2000

// filler returns count slots of fillerSize bytes.
func filler(count int, side byte) []vectors.Run {
	one := envelope.Slot{ID: [16]byte{side}, Kind: 200, Root: rootIn(0, 1), MAC: [envelope.MACSize]byte{1}}
	one.Parameters = make([]byte, fillerSize-len(one.Append(nil)))
	return countedRuns(count, repeatRecord(count, one.Append(nil), len(one.ID)))
}

// filled returns slots that make a document of size bytes.
func filled(size int) []vectors.Run {
	left := size - len(documentRuns{}.data().Bytes())
	list := filler(left/fillerSize-1, 0)
	last := envelope.Slot{ID: [16]byte{0xFF}, Kind: 200, Root: rootIn(0, 1), MAC: [envelope.MACSize]byte{1}}
	last.Parameters = make([]byte, fillerSize+left%fillerSize-len(last.Append(nil)))
	list[0] = countedRuns(left / fillerSize)[0]
	return append(list, vectors.Run{Hex: last.Append(nil)})
}

// longest returns a document with each number and each field of variable length at its limit.
func longest() documentRuns {
	last := envelope.Root{Line: [16]byte{1}, Generation: 1<<32 - 1, ID: numbered(1)}
	text := func(n int) string { return string(slices.Repeat([]byte("x"), n)) }
	slot := envelope.Slot{
		ID: [16]byte{1}, Kind: envelope.SlotKMS, CreatedAt: format.MaxTime, Root: last, URL: text(envelope.MaxURL), Wrapped: make([]byte, envelope.MaxWrapped),
		MAC: [envelope.MACSize]byte{1},
	}
	passkey := envelope.Slot{
		ID: [16]byte{2}, Kind: envelope.SlotPasskey, Root: last, KeyID: numbered(1), Parameters: make([]byte, envelope.MaxParameters),
		Wrapped: make([]byte, envelope.WrappedSize), MAC: [envelope.MACSize]byte{1},
	}
	password := envelope.Slot{
		ID: [16]byte{3}, Kind: envelope.SlotPassword, Root: last, KeyID: numbered(1), Iterations: 1<<32 - 1,
		Wrapped: make([]byte, envelope.WrappedSize), MAC: [envelope.MACSize]byte{1},
	}
	recipient := envelope.Slot{
		ID: [16]byte{4}, Kind: envelope.SlotRecipient, Root: last, KeyID: numbered(1), Parameters: make([]byte, envelope.MaxParameters),
		Wrapped: make([]byte, envelope.MaxWrapped), MAC: [envelope.MACSize]byte{1},
	}
	later := envelope.Slot{
		ID: [16]byte{5}, Kind: 255, Root: last, Iterations: 1<<32 - 1, Salt: format.Salt{1}, URL: text(envelope.MaxURL),
		Parameters: make([]byte, envelope.MaxParameters), Wrapped: make([]byte, envelope.MaxWrapped), MAC: [envelope.MACSize]byte{1},
	}
	p := envelope.Primary{Root: last, Epoch: 1<<32 - 1, KeyID: numbered(1), MAC: [envelope.MACSize]byte{1}}
	k := envelope.Key{ID: numbered(1), State: envelope.Destroyed, CreatedAt: format.MaxTime, Root: last, MAC: [envelope.MACSize]byte{1}}
	shred := slices.Concat(make([]byte, 16), binary.BigEndian.AppendUint64(nil, format.MaxTime), []byte{1}, make([]byte, 31))
	set := slices.Concat([]byte{byte(format.UseCache), byte(classify.PHI)}, counted([][]byte{p.Append(nil)}), counted([][]byte{k.Append(nil)}))
	c := documentRuns{slots: countedRuns(5), shreds: countedRuns(1, vectors.Run{Hex: shred}), keysets: countedRuns(1, vectors.Run{Hex: set})}
	for _, s := range []envelope.Slot{slot, passkey, password, recipient, later} {
		c.slots = append(c.slots, vectors.Run{Hex: s.Append(nil)})
	}
	return c
}

// limits returns documents that reach a limit.
func limits() (list []vectors.Limit) {
	add := func(name string, d vectors.Data) {
		must(envelope.ParseDocument(d.Bytes()))
		list = append(list, vectors.Limit{Name: name, Bytes: d})
	}
	add("256 slots", documentRuns{slots: manySlots(256, 0, 1)}.data())
	add("4096 retired slots of one root", documentRuns{groups: manyRetired(0, 4096)}.data())
	add("4096 retired slots of two roots", documentRuns{groups: manyRetired(0, 4000, 96)}.data())
	add("64 shred records", documentRuns{shreds: manyShreds(64, 0)}.data())
	add("16 primaries", documentRuns{keysets: manyPrimaries(16, 0)}.data())
	add("1024 keys", documentRuns{keysets: manyKeys(1024, 0)}.data())
	add("30 keysets", documentRuns{keysets: allKeysets()}.data())
	add("262144 bytes", documentRuns{slots: filled(envelope.MaxDocument)}.data())
	add("longest fields and last numbers", longest().of(string(slices.Repeat([]byte("e"), envelope.MaxEnvironment)), string(slices.Repeat([]byte("o"), format.MaxOwner))))
	return list
}

// overLimits returns documents that exceed one limit by one and follow every other rule.
func overLimits() (list []vectors.Malformed) {
	add := func(name string, d vectors.Data, code coded) {
		list = append(list, vectors.Malformed{Name: name, Bytes: d, Code: code.Code()})
	}
	malformed := envelope.ErrMalformed
	add("one slot too many", documentRuns{slots: manySlots(257, 0, 1)}.data(), malformed)
	add("one retired slot too many of one root", documentRuns{groups: manyRetired(0, 4097)}.data(), malformed)
	add("one retired slot too many of two roots", documentRuns{groups: manyRetired(0, 4000, 97)}.data(), malformed)
	add("one key too many", documentRuns{keysets: manyKeys(1025, 0)}.data(), malformed)
	add("one byte too many", documentRuns{slots: filled(envelope.MaxDocument + 1)}.data(), envelope.ErrTooLarge)
	return list
}

// fullMerges returns pairs of documents that merge into a document at a limit, or that would merge into one over it.
func fullMerges() (list []vectors.Merge) {
	add := func(name string, a, b documentRuns) {
		m := vectors.Merge{Name: name, A: a.data(), B: b.data()}
		merged, err := envelope.Merge(must(envelope.ParseDocument(m.A.Bytes())), must(envelope.ParseDocument(m.B.Bytes())))
		if err == nil {
			d := data(must(merged.Append(nil)), 0)
			m.Merged = &d
		} else {
			m.Code = err.(coded).Code()
		}
		list = append(list, m)
	}
	for over := range 2 {
		name := [2]string{"%s: the last that fits", "%s: one over the limit"}[over]
		add(fmt.Sprintf(name, "slots"), documentRuns{slots: manySlots(255, 0, 1)}, documentRuns{slots: manySlots(1+over, 1, 1)})
		add(fmt.Sprintf(name, "retired slots"), documentRuns{groups: manyRetired(0, 4095)}, documentRuns{groups: manyRetired(1, 1+over)})
		add(fmt.Sprintf(name, "shred records"), documentRuns{shreds: manyShreds(63, 0)}, documentRuns{shreds: manyShreds(1+over, 1)})
		add(fmt.Sprintf(name, "primaries"), documentRuns{keysets: manyPrimaries(15, 0)}, documentRuns{keysets: manyPrimaries(1+over, 1)})
		add(fmt.Sprintf(name, "keys"), documentRuns{keysets: manyKeys(1023, 0)}, documentRuns{keysets: manyKeys(1+over, 1)})
		add(fmt.Sprintf(name, "size"), documentRuns{slots: filled(envelope.MaxDocument - 25*fillerSize + over)}, documentRuns{slots: filler(25, 1)})
	}
	return list
}

// budgets returns iterations of password slots at and over the bounds.
func budgets() []vectors.Budget {
	code := classify.ErrIterations.Code()
	return []vectors.Budget{
		{Name: "none", Iterations: []uint32{}},
		{Name: "one slot at the ceiling", Iterations: []uint32{10_000_000}},
		{Name: "20,000,000", Iterations: []uint32{10_000_000, 9_900_000, 100_000}},
		{Name: "20,000,001", Iterations: []uint32{10_000_000, 9_900_000, 100_001}, Code: code},
		{Name: "slots out of bounds do not count", Iterations: []uint32{10_000_000, 10_000_000, 99_999, 10_000_001, 1<<32 - 1}},
		{Name: "more than 2^31", Iterations: slices.Repeat([]uint32{10_000_000}, 256), Code: code},
	}
}
