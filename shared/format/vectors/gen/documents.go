package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

func documents(r *validDocuments) (k vectors.DocumentVectors) {
	for _, ring := range append([]*documentBuilder{r.all, r.states, r.slots, r.roots, r.empty, r.unicode, r.marks, r.system}, r.lives...) {
		k.Documents = append(k.Documents, ring.vector())
	}
	for i := range r.slots.doc.Slots {
		s := &r.slots.doc.Slots[i]
		k.Slots = append(k.Slots, vectors.SlotBytes{
			Name: fmt.Sprintf("kind %d, %d iterations", s.Kind, s.Iterations), Bytes: s.Append(nil), Slot: r.slots.slotVector(s),
			Environment: r.slots.doc.Environment, Owner: r.slots.doc.Owner,
		})
	}
	unsigned := r.slots.doc.Slots[0]
	unsigned.MAC = [envelope.MACSize]byte{}
	k.Slots = append(k.Slots, vectors.SlotBytes{
		Name: "without a MAC, which its document gives it", Bytes: unsigned.Append(nil), Slot: r.slots.slotVector(&unsigned),
		Environment: r.slots.doc.Environment, Owner: r.slots.doc.Owner,
	})
	k.Invalid, k.BadSlots = badDocuments(), badSlots()
	k.Unlocks, k.Limits, k.Budgets = unlocks(), limits(), budgets()
	return k
}

// smallDocument returns a document with two slots, two retired slots, a shred record, and three keys in two keysets. The
// invalid documents are made from it.
func smallDocument(name string) *documentBuilder {
	r := newDocumentBuilder(name, "test", "tenant")
	root := r.root("")
	r.slot("a", envelope.SlotMasterKey, root, "", 0)
	r.slot("b", envelope.SlotKMS, root, "", 0)
	r.retire(r.slot("c", envelope.SlotMasterKey, root, "", 0).ID)
	r.retire(r.slot("d", envelope.SlotMasterKey, root, "", 0).ID)
	if err := r.doc.ShredLines([][16]byte{{1}, {2}}, r.nextTime()); err != nil {
		panic(err)
	}
	r.key(format.UseCache, classify.PHI, root, "a")
	r.key(format.UseCache, classify.PHI, root, "b")
	r.key(format.UseField, classify.Public, root, "")
	r.sign()
	return r
}

// offsets holds the offsets of the parts of a document.
type offsets struct {
	slots, secondSlot, retired, shreds, keysets, primaries, keys, secondKey, secondKeyset, end int
}

func offsetsOf(d *envelope.Document) (o offsets) {
	o.slots = 4 + 2 + len(d.Environment) + 2 + len(d.Owner)
	o.secondSlot = o.slots + 2 + len(d.Slots[0].Append(nil))
	o.retired = o.secondSlot + len(d.Slots[1].Append(nil))
	o.shreds = o.retired + 2 + envelope.RootSize + 2 + len(d.Retired)*(16+16)
	o.keysets = o.shreds + 2 + len(d.Shreds)*(16+8+32)
	o.primaries = o.keysets + 2 + 2
	o.keys = o.primaries + 2 + len(d.Keysets[0].Primaries[0].Append(nil))
	o.secondKey = o.keys + 2 + len(d.Keysets[0].Keys[0].Append(nil))
	o.secondKeyset = o.secondKey + len(d.Keysets[0].Keys[1].Append(nil))
	o.end = len(must(d.Append(nil)))
	return o
}

// badDocuments returns malformed documents, which are made by damaging an encoded document.
func badDocuments() (list []vectors.Malformed) {
	d := &smallDocument("damaged").doc
	base, at := must(d.Append(nil)), offsetsOf(d)
	add := func(name string, b []byte, code coded) {
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: b}, Code: code.Code()})
	}
	bad := func(name string, b []byte) { add(name, b, envelope.ErrMalformed) }
	edit := func(name string, offset int, with ...byte) {
		b := slices.Clone(base)
		copy(b[offset:], with)
		if bytes.Equal(b, base) {
			panic(name)
		}
		bad(name, b)
	}
	edit("magic", 0, 'c')
	bad("a package", []byte("CFR\x01"))
	add("version 2", setAll(base, map[int]byte{3: 2}), envelope.ErrUnsupportedVersion)
	for _, n := range []int{
		0, 3, 4, 5, 6, at.slots - 1, at.slots, at.slots + 1, at.slots + 2, at.slots + 100, at.secondSlot - 1, at.secondSlot,
		at.retired - 1, at.retired + 2, at.retired + 54, at.retired + 56, at.shreds - 1, at.shreds + 2, at.keysets - 1, at.keysets, at.keysets + 1,
		at.keysets + 2, at.primaries + 2, at.keys - 1, at.keys + 1, at.secondKey - 1, at.secondKey, at.secondKeyset - 1, at.secondKeyset, at.end - 1,
	} {
		bad(fmt.Sprintf("cut to %d bytes", n), base[:n])
	}
	bad("trailing byte", append(slices.Clone(base), 0))
	edit("environment longer than the document", 4, 0xFF, 0xFF)
	edit("environment, not UTF-8", 6, 0xFF)
	edit("owner, not UTF-8", 12, 0xFF)
	edit("257 slots", at.slots, 1, 1)
	edit("fewer slots than there are", at.slots, 0, 1)
	edit("more slots than there are", at.slots, 0, 3)
	edit("slots out of order", at.slots+2, d.Slots[1].ID[0]+1)
	edit("slot twice", at.secondSlot, d.Slots[0].ID[:]...)
	edit("slot of no generation", at.slots+2+16+1+8+16, 0, 0, 0, 0)
	edit("slot without a MAC", at.secondSlot-32, make([]byte, 32)...)
	edit("slot of a replaced root", at.keys+2+32+1+8+16, 0, 0, 0, 2)
	edit("slot that was retired", at.slots+2, d.Retired[0].ID[:]...)
	edit("4097 retired slots", at.retired+2+envelope.RootSize, 0x10, 1)
	edit("no retired slots of a root", at.retired+2+envelope.RootSize, 0, 0)
	edit("fewer groups of retired slots than there are", at.retired, 0, 0)
	edit("retired slots out of order", at.retired+2+envelope.RootSize+2, 0xFF)
	edit("retired slot twice", at.retired+2+envelope.RootSize+2+32, d.Retired[0].ID[:]...)
	edit("retired slots of no generation", at.retired+2+16, 0, 0, 0, 0)
	edit("retired slot without a MAC", at.retired+2+envelope.RootSize+2+16, make([]byte, 16)...)
	edit("65 shredded lines", at.shreds, 0, 65)
	edit("shredded lines out of order", at.shreds+2, 3)
	edit("shredded line twice", at.shreds+2, 2)
	edit("shredded after 9999", at.shreds+2+16, 0, 0, 0xE6, 0x77, 0xD2, 0x1F, 0xDC, 0)
	edit("shred record without a MAC", at.shreds+2+16+8, make([]byte, 32)...)
	edit("keys of a shredded line", at.shreds+2+56, d.Slots[0].Root.Line[:]...)
	edit("31 keysets", at.keysets, 0, 31)
	edit("keysets out of order", at.keysets+2, byte(format.UseFile))
	edit("keyset twice", at.secondKeyset, base[at.keysets+2], base[at.keysets+3])
	edit("use 0", at.keysets+2, 0)
	edit("use of documents with a class", at.secondKeyset, 6)
	edit("use 11", at.secondKeyset, 11, 0)
	edit("class 0", at.keysets+3, 0)
	edit("class 6", at.keysets+3, 6)
	edit("17 primaries", at.primaries, 0, 17)
	edit("no primaries", at.primaries, 0, 0)
	edit("primary of another line", at.primaries+2, base[at.primaries+2]^1)
	edit("primary of no generation", at.primaries+2+16, 0, 0, 0, 0)
	edit("epoch 0", at.primaries+2+envelope.RootSize, 0, 0, 0, 0)
	edit("primary that is not there", at.primaries+2+envelope.RootSize+4, base[at.primaries+2+envelope.RootSize+4]^1)
	edit("primary without a MAC", at.keys-32, make([]byte, 32)...)
	edit("1025 keys", at.keys, 4, 1)
	edit("no keys", at.keys, 0, 0)
	edit("keys out of order", at.keys+2, d.Keysets[0].Keys[1].ID[0]+1)
	edit("key twice", at.secondKey, d.Keysets[0].Keys[0].ID[:]...)
	edit("key of state 0", at.keys+2+32, 0)
	edit("key of state 5", at.keys+2+32, 5)
	edit("key of no generation", at.keys+2+32+1+8+16, 0, 0, 0, 0)
	edit("key without a MAC", at.secondKey-32, make([]byte, 32)...)
	edit("key of a line without a primary", at.secondKey+32+1+8, base[at.secondKey+32+1+8]^1)
	edit("destroyed key with its material", at.keys+2+32, 4)
	edit("key made before 1970", at.keys+2+33, 0xFF)
	edit("key made after 9999", at.keys+2+33, 0, 0, 0xE6, 0x77, 0xD2, 0x1F, 0xDC, 0)
	return slices.Concat(list, rebuiltBadDocuments(), badRecordOrders(), overLimits())
}

// rebuiltBadDocuments returns malformed documents with fields of other lengths than those of smallDocument.
func rebuiltBadDocuments() (list []vectors.Malformed) {
	add := func(name string, parts ...any) {
		b := []byte("CFK\x01")
		for _, p := range parts {
			switch p := p.(type) {
			case string:
				b = append(b, entries(p)...)
			case []byte:
				b = append(b, p...)
			}
		}
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: b}, Code: envelope.ErrMalformed.Code()})
	}
	none := make([]byte, 8)
	add("environment of 65 bytes", strings.Repeat("e", 65), "tenant", none)
	add("owner of 256 bytes", "test", strings.Repeat("o", 256), none)
	add("system document with a shred record", "test", "", none[:4], []byte{0, 1}, draw(16, "built line"), none, draw(32, "built MAC"), none[:2])
	root := slices.Concat(draw(16, "built line"), []byte{0, 0, 0, 1}, draw(32, "built root"))
	id, mac := draw(32, "built key"), draw(32, "built MAC")
	set := slices.Concat([]byte{2, 5, 0, 1}, root, []byte{0, 0, 0, 1}, id, mac, []byte{0, 1})
	key := func(state byte, wrapped int) []byte {
		return slices.Concat(id, []byte{state, 0, 0, 0, 0, 0, 0, 0, 0}, root, entries(strings.Repeat("w", wrapped)), mac)
	}
	for _, n := range []int{0, 59, 61, 200} {
		add(fmt.Sprintf("wrapped key of %d bytes", n), "test", "tenant", none[:7], []byte{1}, set, key(1, n))
	}
	add("destroyed key of 60 bytes", "test", "tenant", none[:7], []byte{1}, set, key(4, 60))
	add("groups of retired slots out of order", "test", "tenant", []byte{0, 0, 0, 2},
		[]byte(strings.Repeat("\x02", 20)), id, []byte{0, 1}, mac, []byte(strings.Repeat("\x01", 20)), id, []byte{0, 1}, mac, []byte{0, 0, 0, 0})
	list = append(list, vectors.Malformed{
		Name: "document of 262145 bytes", Code: envelope.ErrTooLarge.Code(),
		Bytes: vectors.Data{Hex: vectors.Hex("CFK\x01"), Repeat: vectors.Hex{0}, Length: envelope.MaxDocument + 1},
	})
	return list
}

// kinds lists the kinds of slots that this version defines.
var kinds = []struct {
	kind envelope.SlotKind
	name string
}{
	{envelope.SlotPassword, "password"}, {envelope.SlotMasterKey, "master key"}, {envelope.SlotPasskey, "passkey"},
	{envelope.SlotRecovery, "recovery"}, {envelope.SlotKMS, "kms"}, {envelope.SlotHost, "host"}, {envelope.SlotRecipient, "recipient"},
}

// badSlots returns slots that each break one rule.
func badSlots() (list []vectors.Malformed) {
	r := newDocumentBuilder("bad slots", "test", "tenant")
	root := r.root("")
	slot := func(label string, kind envelope.SlotKind) envelope.Slot {
		iterations := uint32(0)
		if kind == envelope.SlotPassword {
			iterations = 250_000
		}
		return *r.slot(label, kind, root, "password", iterations)
	}
	add := func(name string, s envelope.Slot, change func(s *envelope.Slot)) {
		change(&s)
		if _, err := envelope.ParseSlot(s.Append(nil)); err == nil {
			panic(name)
		}
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: s.Append(nil)}, Code: envelope.ErrMalformed.Code()})
	}
	master, recipient := slot("master key", envelope.SlotMasterKey), slot("recipient", envelope.SlotRecipient)
	passkey, kms := slot("passkey", envelope.SlotPasskey), slot("kms", envelope.SlotKMS)
	add("kind 0", master, func(s *envelope.Slot) { s.Kind = 0 })
	add("no generation", master, func(s *envelope.Slot) { s.Root.Generation = 0 })
	add("time after 9999", master, func(s *envelope.Slot) { s.CreatedAt = format.MaxTime + 1 })
	for _, k := range kinds {
		s := slot("every "+k.name, k.kind)
		if k.kind == envelope.SlotPassword {
			add("password without iterations", s, func(s *envelope.Slot) { s.Iterations = 0 })
			add("password without iterations and salt", s, func(s *envelope.Slot) { s.Iterations, s.Salt = 0, format.Salt{} })
		} else {
			add(k.name+" with iterations", s, func(s *envelope.Slot) { s.Iterations = 1 })
			add(k.name+" with a salt", s, func(s *envelope.Slot) { s.Salt[15] = 1 })
		}
		if k.kind == envelope.SlotKMS {
			add("kms with a key id", s, func(s *envelope.Slot) { s.KeyID[0] = 1 })
			add("kms without a URL", s, func(s *envelope.Slot) { s.URL = "" })
		} else {
			add(k.name+" with a URL", s, func(s *envelope.Slot) { s.URL = "base64key://" })
			add(k.name+" without a key id", s, func(s *envelope.Slot) { s.KeyID = format.KeyID{} })
		}
		if k.kind <= envelope.SlotMasterKey || k.kind == envelope.SlotKMS {
			add(k.name+" with parameters", s, func(s *envelope.Slot) { s.Parameters = []byte{1} })
		}
		if k.kind == envelope.SlotKMS || k.kind == envelope.SlotRecipient {
			add(k.name+", nothing wrapped", s, func(s *envelope.Slot) { s.Wrapped = nil })
			continue
		}
		add(k.name+", wrapped root of 59 bytes", s, func(s *envelope.Slot) { s.Wrapped = s.Wrapped[1:] })
		add(k.name+", wrapped root of 61 bytes", s, func(s *envelope.Slot) { s.Wrapped = append(slices.Clone(s.Wrapped), 0) })
	}
	long := func(name string, s envelope.Slot, change func(s *envelope.Slot)) {
		add(name, s, change)
		last := &list[len(list)-1]
		last.Bytes = vectors.Data{Runs: compressRuns(last.Bytes.Hex)}
	}
	long("passkey, 4097 bytes of parameters", passkey, func(s *envelope.Slot) { s.Parameters = make([]byte, 4097) })
	long("later kind, 4097 bytes wrapped", recipient, func(s *envelope.Slot) { s.Kind, s.Wrapped = 200, make([]byte, 4097) })
	long("later kind, 4097 bytes of parameters", recipient, func(s *envelope.Slot) { s.Kind, s.Parameters = 200, make([]byte, 4097) })
	long("later kind, URL of 1025 bytes", recipient, func(s *envelope.Slot) { s.Kind, s.URL = 200, strings.Repeat("u", 1025) })
	long("kms, URL of 1025 bytes", kms, func(s *envelope.Slot) { s.URL = strings.Repeat("u", 1025) })
	long("kms, 4097 bytes wrapped", kms, func(s *envelope.Slot) { s.Wrapped = make([]byte, 4097) })
	add("kms, URL not UTF-8", kms, func(s *envelope.Slot) { s.URL = "\xff" })
	add("later kind, URL not UTF-8", recipient, func(s *envelope.Slot) { s.Kind, s.URL = 200, "\xff" })
	whole := master.Append(nil)
	list = append(list,
		vectors.Malformed{Name: "cut before the MAC", Bytes: vectors.Data{Hex: whole[:len(whole)-envelope.MACSize]}, Code: "malformed"},
		vectors.Malformed{Name: "cut by one byte", Bytes: vectors.Data{Hex: whole[:len(whole)-1]}, Code: "malformed"},
		vectors.Malformed{Name: "trailing byte", Bytes: vectors.Data{Hex: append(slices.Clone(whole), 0)}, Code: "malformed"},
		vectors.Malformed{Name: "nothing", Code: "malformed"})
	return list
}
