package main

import (
	"encoding/base64"
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// unlocks returns documents that must not open with the given secret.
func unlocks() (list []vectors.UnlockRefusal) {
	build := func(name string, kind envelope.SlotKind) (*documentBuilder, vectors.Secret) {
		r := newDocumentBuilder("unlock "+name, "test", "tenant")
		root := r.root("")
		iterations := uint32(0)
		if kind == envelope.SlotPassword {
			iterations = 250_000
		}
		s := r.slot("", kind, root, "password", iterations)
		r.key(format.UseCache, classify.PHI, root, "")
		r.sign()
		return r, *r.secrets[s.ID].secret
	}
	add := func(name string, kind envelope.SlotKind, code coded, change func(r *documentBuilder, secret *vectors.Secret)) {
		r, secret := build(name, kind)
		change(r, &secret)
		list = append(list, vectors.UnlockRefusal{Name: name, Bytes: must(r.doc.Append(nil)), Secret: secret, Code: code.Code()})
	}
	document := func(name string, kind envelope.SlotKind, code coded, change func(d *envelope.Document)) {
		add(name, kind, code, func(r *documentBuilder, _ *vectors.Secret) { change(&r.doc) })
	}
	// resigned adds a document that was changed and has correct MACs, so that another check must refuse it.
	resigned := func(name string, kind envelope.SlotKind, code coded, change func(d *envelope.Document)) {
		add(name, kind, code, func(r *documentBuilder, _ *vectors.Secret) {
			change(&r.doc)
			r.resign()
		})
	}
	master, password, kms := envelope.SlotMasterKey, envelope.SlotPassword, envelope.SlotKMS
	authentication := envelope.ErrAuthentication
	add("another password", password, envelope.ErrWrongSecret, func(_ *documentBuilder, s *vectors.Secret) { s.Text = "Password" })
	add("another master key", master, envelope.ErrWrongSecret, func(_ *documentBuilder, s *vectors.Secret) {
		s.Text = base64.StdEncoding.EncodeToString(draw(32, "another master key"))
	})
	resigned("slot's salt changed", password, envelope.ErrWrongSecret, func(d *envelope.Document) { d.Slots[0].Salt[0] ^= 1 })
	resigned("slot's key id changed", master, envelope.ErrWrongSecret, func(d *envelope.Document) { d.Slots[0].KeyID[0] ^= 1 })
	resigned("iterations below the floor", password, classify.ErrIterations, func(d *envelope.Document) { d.Slots[0].Iterations = envelope.MinIterations - 1 })
	resigned("iterations above the ceiling", password, classify.ErrIterations, func(d *envelope.Document) { d.Slots[0].Iterations = envelope.MaxIterations + 1 })
	resigned("20,000,001 iterations in all slots", password, classify.ErrIterations, func(d *envelope.Document) {
		for n, iterations := range []uint32{10_000_000, 9_750_001} {
			s := d.Slots[0]
			s.ID[0], s.Iterations = byte(n), iterations
			if err := d.AddSlot(s); err != nil {
				panic(err)
			}
		}
	})
	resigned("wrapped root changed", master, authentication, func(d *envelope.Document) { d.Slots[0].Wrapped[20] ^= 1 })
	add("another root under the slot's id", master, authentication, func(r *documentBuilder, s *vectors.Secret) {
		slot := &r.doc.Slots[0]
		r.forgeRootID(slot.Root.ID)
		slot.Wrapped = plain.Wrap(r.secrets[slot.ID].key, r.doc.RootBinding(slot.Root), r.draw(12, "other nonce"), r.roots[slot.Root.ID])
		r.resign()
	})
	add("root id changed", master, authentication, func(r *documentBuilder, _ *vectors.Secret) {
		r.doc.Slots[0].Root.ID[0] ^= 1
	})
	for _, kind := range []envelope.SlotKind{master, kms} {
		name := map[envelope.SlotKind]string{kms: "kms, "}[kind]
		resigned(name+"line of the root changed, MACs too", kind, authentication, func(d *envelope.Document) {
			renameRoot(d, func(root *envelope.Root) { root.Line[0] ^= 1 })
		})
		resigned(name+"generation of the root raised, MACs too", kind, authentication, func(d *envelope.Document) {
			renameRoot(d, func(root *envelope.Root) { root.Generation++ })
		})
	}
	document("owner changed", master, authentication, func(d *envelope.Document) { d.Owner = "tenanT" })
	resigned("owner changed, MACs too", master, authentication, func(d *envelope.Document) { d.Owner = "tenanT" })
	document("environment changed", master, authentication, func(d *envelope.Document) { d.Environment = "prod" })
	resigned("environment changed, MACs too", master, authentication, func(d *envelope.Document) { d.Environment = "prod" })
	resigned("kms, environment changed", kms, authentication, func(d *envelope.Document) { d.Environment = "prod" })
	resigned("kms, wrapped root changed", kms, authentication, func(d *envelope.Document) { d.Slots[0].Wrapped[50] ^= 1 })
	add("kms, another binding inside", kms, authentication, func(r *documentBuilder, s *vectors.Secret) {
		slot := &r.doc.Slots[0]
		outer, inner := r.doc.RootBinding(slot.Root), r.doc.RootBinding(slot.Root)
		inner.Owner = "tenanT"
		slot.Wrapped = plain.WrapLocalAs(r.secrets[slot.ID].key, outer, inner, r.draw(12, "inner nonce"), r.roots[slot.Root.ID])
		r.resign()
	})
	add("kms, another root under the slot's id", kms, authentication, func(r *documentBuilder, s *vectors.Secret) {
		slot := &r.doc.Slots[0]
		r.forgeRootID(slot.Root.ID)
		slot.Wrapped = plain.WrapLocal(r.secrets[slot.ID].key, r.doc.RootBinding(slot.Root), r.draw(12, "other nonce"), r.roots[slot.Root.ID])
		r.resign()
	})
	resigned("kms, 31 bytes wrapped", kms, authentication, func(d *envelope.Document) { d.Slots[0].Wrapped = d.Slots[0].Wrapped[:31] })
	resigned("kms, URL of another KEK", kms, envelope.ErrWrongSecret, func(d *envelope.Document) { d.Slots[0].URL = "base64key://0123456789abcdef" })
	resigned("kms, key id of another KEK inside", kms, envelope.ErrWrongSecret, func(d *envelope.Document) { d.Slots[0].Wrapped[0] ^= 1 })
	add("another kms", kms, envelope.ErrWrongSecret, func(_ *documentBuilder, s *vectors.Secret) {
		s.Text = base64.StdEncoding.EncodeToString(draw(32, "another kek"))
	})
	resigned("wrapped key changed", master, authentication, func(d *envelope.Document) { d.Keysets[0].Keys[0].Wrapped[20] ^= 1 })
	add("another key under the key's id", master, authentication, func(r *documentBuilder, _ *vectors.Secret) {
		k := &r.doc.Keysets[0].Keys[0]
		k.Wrapped = plain.Wrap(r.roots[k.Root.ID], r.doc.KeyBinding(format.UseCache, 5, k.ID), r.draw(12, "other nonce"), r.draw(32, "other key"))
		r.resign()
	})
	resigned("key moved to another class", master, authentication, func(d *envelope.Document) { d.Keysets[0].Class = classify.PII })
	resigned("key moved to another use", master, authentication, func(d *envelope.Document) { d.Keysets[0].Use = format.UseFile })
	for _, a := range forgeries() {
		add("forged: "+a.name, master, authentication, func(r *documentBuilder, _ *vectors.Secret) {
			root := r.doc.Slots[0].Root.ID
			leaked := r.key(format.UseCache, classify.PHI, root, "leaked")
			r.key(format.UseCache, classify.PHI, root, "last")
			r.advance(format.UseCache, classify.PHI, leaked, envelope.Compromised)
			r.slot("another", envelope.SlotRecovery, root, "", 0)
			r.retire(r.slot("retired", envelope.SlotRecovery, root, "", 0).ID)
			r.retire(r.slot("retired, too", envelope.SlotRecovery, root, "", 0).ID)
			r.sign()
			a.change(&r.doc, leaked)
		})
	}
	in := func(name string, change func(s []envelope.Keyset)) {
		r := oneSecretTwoLines()
		r.sign()
		change(r.doc.Keysets)
		secret := *r.secrets[r.doc.Slots[0].ID].secret
		list = append(list, vectors.UnlockRefusal{Name: "forged: " + name, Bytes: must(r.doc.Append(nil)), Secret: secret, Code: authentication.Code()})
	}
	in("MAC of a primary that does not count", func(s []envelope.Keyset) {
		for i := range s[0].Primaries {
			if s[0].Primaries[i].KeyID != s[0].Primary() {
				s[0].Primaries[i].MAC[0] ^= 1
			}
		}
	})
	in("MAC of the last key", func(s []envelope.Keyset) { s[1].Keys[1].MAC[0] ^= 1 })
	r, secret := build("another environment", master)
	list = append(list, vectors.UnlockRefusal{
		Name: "a document of another environment", Bytes: must(r.doc.Append(nil)), Secret: secret, Environment: "prod", Code: envelope.ErrInvalid.Code(),
	})
	wrong := vectors.Secret{Kind: "master-key", Text: base64.StdEncoding.EncodeToString(draw(32, "another master key"))}
	list = append(list, vectors.UnlockRefusal{
		Name: "a document of another environment, another master key", Bytes: must(r.doc.Append(nil)), Secret: wrong, Environment: "prod",
		Code: envelope.ErrInvalid.Code(),
	})
	return append(list, forgedShreds()...)
}

// renameRoot changes the Root that the records of a document name.
func renameRoot(d *envelope.Document, change func(root *envelope.Root)) {
	change(&d.Slots[0].Root)
	change(&d.Keysets[0].Primaries[0].Root)
	change(&d.Keysets[0].Keys[0].Root)
}

// forgeRootID gives another root the id of a root and moves everything under it, so that only the check of the key id of
// the unwrapped root detects it.
func (r *documentBuilder) forgeRootID(id format.KeyID) {
	r.roots[id] = r.draw(32, "another root")
	k := &r.doc.Keysets[0].Keys[0]
	k.Wrapped = plain.Wrap(r.roots[id], r.doc.KeyBinding(format.UseCache, 5, k.ID), r.draw(12, "another nonce"), r.keys[k.ID])
}

// forgery is a change of a document by an attacker who can write to the store.
type forgery struct {
	name   string
	change func(d *envelope.Document, leaked format.KeyID)
}

func forgeries() []forgery {
	set := func(d *envelope.Document) *envelope.Keyset { return &d.Keysets[0] }
	return []forgery{
		{"compromised to enabled", func(d *envelope.Document, leaked format.KeyID) { set(d).Key(leaked).State = envelope.Enabled }},
		{"compromised to disabled", func(d *envelope.Document, leaked format.KeyID) { set(d).Key(leaked).State = envelope.Disabled }},
		{"destroyed", func(d *envelope.Document, leaked format.KeyID) {
			set(d).Key(leaked).State, set(d).Key(leaked).Wrapped = envelope.Destroyed, nil
		}},
		{"time of a key", func(d *envelope.Document, leaked format.KeyID) { set(d).Key(leaked).CreatedAt++ }},
		{"another primary", func(d *envelope.Document, leaked format.KeyID) { set(d).Primaries[0].KeyID = leaked }},
		{"last epoch", func(d *envelope.Document, _ format.KeyID) { set(d).Primaries[0].Epoch = 1<<32 - 1 }},
		{"generation of a primary", func(d *envelope.Document, _ format.KeyID) {
			for i := range d.Slots { // otherwise the slots would be void
				d.Slots[i].Root.Generation = 2
			}
			for i := range d.Retired {
				d.Retired[i].Root.Generation = 2
			}
			set(d).Primaries[0].Root.Generation = 2
		}},
		{"time of a slot", func(d *envelope.Document, _ format.KeyID) { d.Slots[0].CreatedAt++ }},
		{"id of a slot", func(d *envelope.Document, _ format.KeyID) { d.Slots[0].ID[15] ^= 1 }},
		{"parameters of a slot", func(d *envelope.Document, _ format.KeyID) {
			for i := range d.Slots {
				if d.Slots[i].Kind == envelope.SlotRecovery {
					d.Slots[i].Parameters = []byte{1}
				}
			}
		}},
		{"kind of a slot", func(d *envelope.Document, _ format.KeyID) {
			for i := range d.Slots {
				if d.Slots[i].Kind == envelope.SlotRecovery {
					d.Slots[i].Kind = 200
				}
			}
		}},
		{"retired slot", func(d *envelope.Document, _ format.KeyID) { d.Retired[1].ID[15] ^= 1 }},
		{"MAC of a retired slot", func(d *envelope.Document, _ format.KeyID) { d.Retired[1].MAC[15] ^= 1 }},
		{"MAC of a slot", func(d *envelope.Document, _ format.KeyID) { d.Slots[0].MAC[31] ^= 1 }},
		{"MAC of a key", func(d *envelope.Document, _ format.KeyID) { set(d).Keys[0].MAC[31] ^= 1 }},
		{"MAC of a primary", func(d *envelope.Document, _ format.KeyID) { set(d).Primaries[0].MAC[31] ^= 1 }},
		{"the MAC of a key for its primary", func(d *envelope.Document, _ format.KeyID) { set(d).Primaries[0].MAC = set(d).Keys[0].MAC }},
	}
}

// forgedShreds returns documents with shred records that the system document's key does not authenticate.
func forgedShreds() (list []vectors.UnlockRefusal) {
	add := func(name string, change func(r *documentBuilder)) {
		r := newDocumentBuilder("forged "+name, "test", "tenant")
		root := r.root("")
		s := r.slot("", envelope.SlotMasterKey, root, "", 0)
		secret := *r.secrets[s.ID].secret
		r.key(format.UseCache, classify.PHI, root, "")
		if err := r.doc.ShredLines([][16]byte{{6}, {7}}, r.nextTime()); err != nil {
			panic(err)
		}
		r.sign()
		change(r)
		list = append(list, vectors.UnlockRefusal{
			Name: name, Bytes: must(r.doc.Append(nil)), Secret: secret, ShredKey: shredKey, Code: envelope.ErrAuthentication.Code(),
		})
	}
	add("forged: shredded line", func(r *documentBuilder) { r.doc.Shreds[1].Line[0]++ })
	add("forged: time of a shredding", func(r *documentBuilder) { r.doc.Shreds[1].ShreddedAt++ })
	add("forged: MAC of a shred record", func(r *documentBuilder) { r.doc.Shreds[1].MAC[0] ^= 1 })
	add("forged: shred record under the root", func(r *documentBuilder) {
		for record := range r.doc.Records {
			if record.Shred {
				copy(record.MAC, plain.RecordMAC(r.roots[r.doc.Slots[0].Root.ID], record.Message))
			}
		}
	})
	return list
}

// merges returns pairs of documents from two devices.
func merges() (list []vectors.Merge) {
	add := func(name string, a, b *documentBuilder) { list = append(list, merge(name, a, b)) }
	fork := func(change func(r *documentBuilder, root format.KeyID)) *documentBuilder {
		r := smallDocument("merge")
		if change != nil {
			change(r, r.doc.Slots[0].Root.ID)
		}
		r.sign()
		return r
	}
	use, class := format.UseCache, classify.PHI
	former := func(r *documentBuilder) (id format.KeyID) {
		for _, k := range r.doc.Keyset(use, class).Keys {
			if k.ID != r.doc.Keyset(use, class).Primary() {
				id = k.ID
			}
		}
		return id
	}
	inState := func(states ...envelope.State) *documentBuilder {
		return fork(func(r *documentBuilder, _ format.KeyID) {
			for _, state := range states {
				r.advance(use, class, former(r), state)
			}
		})
	}
	rotated := fork(func(r *documentBuilder, root format.KeyID) { r.key(use, class, root, "device a") })
	other := fork(func(r *documentBuilder, root format.KeyID) {
		r.key(use, class, root, "device b")
		r.key(format.UseFile, class, root, "device b")
		r.slot("device b", envelope.SlotMasterKey, root, "", 0)
	})
	retired := fork(func(r *documentBuilder, _ format.KeyID) {
		r.advance(use, class, former(r), envelope.Destroyed)
		r.retire(r.doc.Slots[1].ID)
	})
	rolled := fork(func(r *documentBuilder, _ format.KeyID) { r.promote(use, class, former(r)) })
	replaced := fork(func(r *documentBuilder, _ format.KeyID) {
		root := r.rootOf("second", "", 2)
		r.slot("second", envelope.SlotMasterKey, root, "", 0)
		r.replace(root)
	})
	add("with itself", fork(nil), fork(nil))
	add("one rotated", rotated, fork(nil))
	add("both rotated: the higher key id of one epoch", rotated, other)
	add("one rotated, one rolled back", rotated, rolled)
	add("one destroyed a key and retired a slot", fork(nil), retired)
	add("one rotated, one destroyed", other, retired)
	add("compromised and disabled: disabled", inState(envelope.Compromised), inState(envelope.Disabled))
	add("enabled and compromised: compromised", fork(nil), inState(envelope.Compromised))
	add("one rolled back to a key that the other disabled", rolled, inState(envelope.Disabled))
	add("one replaced the root", fork(nil), replaced)
	add("one replaced the root, one rotated twice", replaced, fork(func(r *documentBuilder, root format.KeyID) {
		r.key(use, class, root, "once")
		r.key(use, class, root, "twice")
	}))
	add("one replaced the root, one destroyed a key under the former", replaced, retired)
	add("one replaced the root, one marked a key under the former", replaced, inState(envelope.Compromised))
	add("one replaced the root, one added a slot of the former", replaced, other)
	add("both replaced the root: the greater root id", replaced, fork(func(r *documentBuilder, _ format.KeyID) {
		root := r.rootOf("another second", "", 2)
		r.slot("another second", envelope.SlotMasterKey, root, "", 0)
		r.replace(root)
	}))
	shred := fork(func(r *documentBuilder, _ format.KeyID) { r.shred() })
	add("one was shredded", fork(nil), shred)
	add("one was shredded, one rotated since", rotated, shred)
	add("one was shredded, one replaced the root since", replaced, shred)
	later := fork(func(r *documentBuilder, _ format.KeyID) { r.nextTime(); r.shred() })
	add("both were shredded: the greater record", shred, later)
	rewrap := fork(func(r *documentBuilder, root format.KeyID) {
		for _, s := range r.doc.Slots {
			if s.Kind == envelope.SlotKMS {
				r.slot("another kek", envelope.SlotKMS, root, "", 0)
				r.retire(s.ID)
			}
		}
	})
	add("one was rewrapped, one rotated", rewrap, rotated)
	again := newDocumentBuilder("merge again", "test", "tenant")
	root := again.root("")
	again.slot("", envelope.SlotKMS, root, "", 0)
	again.key(use, class, root, "")
	add("two lines: one began again", again, fork(nil))
	add("two lines: one began again, the other was shredded", again, shred)
	copied := fork(nil) // the same key, wrapped again under the same root
	k := &copied.doc.Keyset(use, class).Keys[0]
	k.Wrapped, k.MAC = plain.Wrap(copied.roots[k.Root.ID], copied.doc.KeyBinding(use, uint8(class), k.ID), draw(12, "tie nonce"), copied.keys[k.ID]), [envelope.MACSize]byte{}
	add("one key wrapped twice: the greater encoding", fork(nil), copied)
	stranger := fork(nil)
	stranger.doc.Owner = "another"
	add("different owners", fork(nil), stranger)
	stranger = fork(nil)
	stranger.doc.Environment = "prod"
	add("different environments", fork(nil), stranger)
	return slices.Concat(list, mergePriorities(), fullMerges())
}

func merge(name string, a, b *documentBuilder) vectors.Merge {
	m := vectors.Merge{Name: name, A: vectors.Data{Hex: a.bytes()}, B: vectors.Data{Hex: b.bytes()}}
	if merged, err := envelope.Merge(&a.doc, &b.doc); err != nil {
		m.Code = err.(coded).Code()
	} else {
		m.Merged = &vectors.Data{Hex: must(merged.Append(nil))}
	}
	return m
}
