package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

func documents(r *rings) (k vectors.Keyrings) {
	for _, ring := range append([]*ring{r.all, r.states, r.slots, r.roots, r.empty, r.unicode}, r.lives...) {
		k.Documents = append(k.Documents, ring.vector())
	}
	for i := range r.slots.doc.Slots {
		s := &r.slots.doc.Slots[i]
		k.Slots = append(k.Slots, vectors.SlotBytes{
			Name: fmt.Sprintf("kind %d, state %d", s.Kind, s.State), Bytes: s.Append(nil), Slot: r.slots.slotVector(s),
			Environment: r.slots.doc.Environment, Owner: r.slots.doc.Owner,
		})
	}
	k.Invalid, k.BadSlots = badDocuments(), badSlots()
	k.Unlocks, k.Merges = unlocks(), merges()
	return k
}

// small is a document of two slots and three keys in two keysets, which the invalid ones are made from.
func small(name string) *ring {
	r := newRing(name, "test", "tenant")
	root := r.root("")
	r.slot("a", envelope.SlotMasterKey, root, "", 0)
	r.slot("b", envelope.SlotKMS, root, "", 0)
	r.key(format.UseCache, classify.PHI, root, "a")
	r.key(format.UseCache, classify.PHI, root, "b")
	r.key(format.UseField, classify.Public, root, "")
	return r
}

// offsets of a document's parts, found by encoding them.
type offsets struct{ slots, secondSlot, keysets, keys, secondKey, secondKeyset, end int }

func offsetsOf(d *envelope.Document) (o offsets) {
	o.slots = 4 + 2 + len(d.Environment) + 2 + len(d.Owner)
	o.secondSlot = o.slots + 2 + len(d.Slots[0].Append(nil))
	o.keysets = o.secondSlot + len(d.Slots[1].Append(nil))
	o.keys = o.keysets + 2 + 38
	o.secondKey = o.keys + 2 + len(d.Keysets[0].Keys[0].Append(nil))
	o.secondKeyset = o.secondKey + len(d.Keysets[0].Keys[1].Append(nil))
	o.end = len(must(d.Append(nil)))
	return o
}

// badDocuments damages the encoding of a document.
func badDocuments() (list []vectors.Malformed) {
	d := &small("damaged").doc
	base, at := must(d.Append(nil)), offsetsOf(d)
	add := func(name string, b []byte, code coded) {
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: b}, Code: code.Code()})
	}
	bad := func(name string, b []byte) { add(name, b, envelope.ErrMalformed) }
	edit := func(name string, offset int, with ...byte) {
		b := slices.Clone(base)
		copy(b[offset:], with)
		bad(name, b)
	}
	edit("magic", 0, 'c')
	bad("a package", []byte("CFR\x01"))
	add("version 2", setAll(base, map[int]byte{3: 2}), envelope.ErrUnsupportedVersion)
	for _, n := range []int{0, 3, 4, 5, 6, at.slots - 1, at.slots, at.slots + 1, at.slots + 2, at.slots + 100, at.secondSlot - 1, at.secondSlot,
		at.keysets - 1, at.keysets, at.keysets + 1, at.keysets + 2, at.keys - 1, at.keys + 1, at.secondKey - 1, at.secondKey,
		at.secondKeyset - 1, at.secondKeyset, at.end - 1} {
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
	edit("26 keysets", at.keysets, 0, 26)
	edit("keysets out of order", at.keysets+2, byte(format.UseFile))
	edit("keyset twice", at.secondKeyset, base[at.keysets+2], base[at.keysets+3])
	edit("use 0", at.keysets+2, 0)
	edit("use 6", at.secondKeyset, 6)
	edit("class 0", at.keysets+3, 0)
	edit("class 6", at.keysets+3, 6)
	edit("epoch 0", at.keysets+4, 0, 0, 0, 0)
	edit("primary that is not there", at.keysets+8, base[at.keysets+8]^1)
	edit("1025 keys", at.keys, 4, 1)
	edit("no keys", at.keys, 0, 0)
	edit("keys out of order", at.keys+2, d.Keysets[0].Keys[1].ID[0]+1)
	edit("key twice", at.secondKey, d.Keysets[0].Keys[0].ID[:]...)
	edit("key of state 0", at.keys+2+32, 0)
	edit("key of state 5", at.keys+2+32, 5)
	edit("destroyed key with its material", at.keys+2+32, 4)
	edit("key made before 1970", at.keys+2+33, 0xFF)
	edit("key made after 9999", at.keys+2+33, 0, 0, 0xE6, 0x77, 0xD2, 0x1F, 0xDC, 0)
	return append(list, builtDocuments()...)
}

// builtDocuments is what needs another length than the base has.
func builtDocuments() (list []vectors.Malformed) {
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
	none := []byte{0, 0, 0, 0}
	add("no owner", "test", "", none)
	add("environment of 65 bytes", strings.Repeat("e", 65), "tenant", none)
	add("owner of 256 bytes", "test", strings.Repeat("o", 256), none)
	set := []byte{2, 5, 0, 0, 0, 1}
	id := draw(32, "built key")
	key := func(state byte, wrapped int) []byte {
		return slices.Concat(id, []byte{state, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 32), entries(strings.Repeat("w", wrapped)))
	}
	for _, n := range []int{0, 59, 61, 200} {
		add(fmt.Sprintf("wrapped key of %d bytes", n), "test", "tenant", []byte{0, 0, 0, 1}, set, id, []byte{0, 1}, key(1, n))
	}
	add("destroyed key of 60 bytes", "test", "tenant", []byte{0, 0, 0, 1}, set, id, []byte{0, 1}, key(4, 60))
	list = append(list, vectors.Malformed{
		Name: "document of 262145 bytes", Code: envelope.ErrTooLarge.Code(),
		Bytes: vectors.Data{Hex: vectors.Hex("CFK\x01"), Repeat: vectors.Hex{0}, Length: envelope.MaxDocument + 1},
	})
	return list
}

// badSlots breaks each rule of a slot.
func badSlots() (list []vectors.Malformed) {
	r := newRing("bad slots", "test", "tenant")
	root := r.root("")
	password := *r.slot("password", envelope.SlotPassword, root, "password", 250_000)
	master := *r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	kms := *r.slot("kms", envelope.SlotKMS, root, "", 0)
	add := func(name string, s envelope.Slot, change func(s *envelope.Slot)) {
		change(&s)
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: s.Append(nil)}, Code: envelope.ErrMalformed.Code()})
	}
	add("kind 0", master, func(s *envelope.Slot) { s.Kind = 0 })
	add("kind 6", master, func(s *envelope.Slot) { s.Kind = 6 })
	for _, state := range []envelope.State{0, envelope.Disabled, envelope.Compromised, 5} {
		add(fmt.Sprintf("state %d", state), master, func(s *envelope.Slot) { s.State = state })
	}
	add("destroyed with its material", master, func(s *envelope.Slot) { s.State = envelope.Destroyed })
	add("time after 9999", master, func(s *envelope.Slot) { s.CreatedAt = format.MaxTime + 1 })
	add("password without iterations", password, func(s *envelope.Slot) { s.Iterations = 0 })
	add("master key with iterations", master, func(s *envelope.Slot) { s.Iterations = 600_000 })
	add("master key with a salt", master, func(s *envelope.Slot) { s.Salt[15] = 1 })
	add("master key with a URL", master, func(s *envelope.Slot) { s.URL = "base64key://" })
	add("master key without a key id", master, func(s *envelope.Slot) { s.KeyID = format.KeyID{} })
	add("kms with a key id", kms, func(s *envelope.Slot) { s.KeyID[0] = 1 })
	add("kms without a URL", kms, func(s *envelope.Slot) { s.URL = "" })
	add("kms, URL of 1025 bytes", kms, func(s *envelope.Slot) { s.URL = strings.Repeat("u", 1025) })
	add("kms, URL not UTF-8", kms, func(s *envelope.Slot) { s.URL = "\xff" })
	add("kms, nothing wrapped", kms, func(s *envelope.Slot) { s.Wrapped = nil })
	add("kms, 4097 bytes wrapped", kms, func(s *envelope.Slot) { s.Wrapped = make([]byte, 4097) })
	add("wrapped root of 59 bytes", master, func(s *envelope.Slot) { s.Wrapped = s.Wrapped[1:] })
	whole := master.Append(nil)
	list = append(list,
		vectors.Malformed{Name: "cut by one byte", Bytes: vectors.Data{Hex: whole[:len(whole)-1]}, Code: "malformed"},
		vectors.Malformed{Name: "trailing byte", Bytes: vectors.Data{Hex: append(slices.Clone(whole), 0)}, Code: "malformed"},
		vectors.Malformed{Name: "nothing", Code: "malformed"})
	return list
}
