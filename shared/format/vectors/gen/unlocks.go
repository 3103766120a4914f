package main

import (
	"encoding/base64"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// unlocks is documents whose slots must not open with the secret given.
func unlocks() (list []vectors.UnlockRefusal) {
	add := func(name string, kind envelope.SlotKind, code coded, change func(d *envelope.Document, secret *vectors.Secret)) {
		r := newRing("unlock "+name, "test", "tenant")
		root := r.root("")
		iterations := uint32(0)
		if kind == envelope.SlotPassword {
			iterations = 250_000
		}
		s := r.slot("", kind, root, "password", iterations)
		r.key(format.UseCache, classify.PHI, root, "")
		secret := *r.secrets[s.ID].secret
		change(&r.doc, &secret)
		list = append(list, vectors.UnlockRefusal{Name: name, Bytes: r.bytes(), Secret: secret, Code: code.Code()})
	}
	master, password := envelope.SlotMasterKey, envelope.SlotPassword
	add("another password", password, envelope.ErrWrongSecret, func(_ *envelope.Document, s *vectors.Secret) { s.Text = "Password" })
	add("another master key", master, envelope.ErrWrongSecret, func(_ *envelope.Document, s *vectors.Secret) {
		s.Text = base64.StdEncoding.EncodeToString(draw(32, "another master key"))
	})
	add("slot's salt changed", password, envelope.ErrWrongSecret, func(d *envelope.Document, _ *vectors.Secret) { d.Slots[0].Salt[0] ^= 1 })
	add("slot's key id changed", master, envelope.ErrWrongSecret, func(d *envelope.Document, _ *vectors.Secret) { d.Slots[0].KeyID[0] ^= 1 })
	add("iterations below the floor", password, classify.ErrIterations, func(d *envelope.Document, _ *vectors.Secret) { d.Slots[0].Iterations = 249_999 })
	add("iterations above the ceiling", password, classify.ErrIterations, func(d *envelope.Document, _ *vectors.Secret) {
		d.Slots[0].Iterations = classify.Ceiling + 1
	})
	add("destroyed slot", master, envelope.ErrWrongSecret, func(d *envelope.Document, _ *vectors.Secret) {
		d.Slots[0].State, d.Slots[0].Wrapped = envelope.Destroyed, nil
	})
	add("wrapped root changed", master, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Slots[0].Wrapped[20] ^= 1 })
	add("root id changed", master, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Slots[0].RootID[0] ^= 1 })
	add("owner changed", master, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Owner = "tenanT" })
	add("environment changed", master, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Environment = "prod" })
	add("kms, environment changed", envelope.SlotKMS, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Environment = "prod" })
	add("kms, wrapped root changed", envelope.SlotKMS, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Slots[0].Wrapped[50] ^= 1 })
	add("another kms", envelope.SlotKMS, envelope.ErrWrongSecret, func(_ *envelope.Document, s *vectors.Secret) {
		s.Text = base64.StdEncoding.EncodeToString(draw(32, "another kek"))
	})
	add("wrapped key changed", master, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Keysets[0].Keys[0].Wrapped[20] ^= 1 })
	add("key moved to another class", master, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Keysets[0].Class = classify.PII })
	add("key moved to another use", master, envelope.ErrAuthentication, func(d *envelope.Document, _ *vectors.Secret) { d.Keysets[0].Use = format.UseFile })
	return list
}

// merges is pairs of documents that two devices hold.
func merges() (list []vectors.Merge) {
	add := func(name string, a, b *envelope.Document) {
		m := vectors.Merge{Name: name, A: must(a.Append(nil)), B: must(b.Append(nil))}
		if merged, err := envelope.Merge(a, b); err != nil {
			m.Code = err.(coded).Code()
		} else {
			m.Merged = must(merged.Append(nil))
		}
		list = append(list, m)
	}
	fork := func(change func(r *ring, root format.KeyID)) *envelope.Document {
		r := small("merge")
		if change != nil {
			change(r, r.doc.Slots[0].RootID)
		}
		return &r.doc
	}
	use, class := format.UseCache, classify.PHI
	rotated := fork(func(r *ring, root format.KeyID) { r.key(use, class, root, "device a") })
	other := fork(func(r *ring, root format.KeyID) {
		r.key(use, class, root, "device b")
		r.key(format.UseFile, class, root, "device b")
		r.slot("device b", envelope.SlotMasterKey, root, "", 0)
	})
	retired := fork(func(r *ring, _ format.KeyID) {
		for _, k := range r.doc.Keyset(use, class).Keys {
			if k.ID != r.doc.Keyset(use, class).Primary {
				r.advance(use, class, k.ID, envelope.Destroyed)
			}
		}
		r.doc.Slots[1].State, r.doc.Slots[1].Wrapped = envelope.Destroyed, nil
	})
	add("with itself", fork(nil), fork(nil))
	add("one rotated", rotated, fork(nil))
	add("both rotated: the higher key id of one epoch", rotated, other)
	add("one destroyed a key and a slot", fork(nil), retired)
	add("one rotated, one destroyed", other, retired)
	shred := fork(func(r *ring, _ format.KeyID) { r.doc.Shred() })
	add("one was shredded", fork(nil), shred)
	add("one was shredded, one rotated since", rotated, shred)
	rewrap := fork(func(r *ring, root format.KeyID) {
		for _, s := range r.doc.Slots {
			if s.Kind == envelope.SlotKMS {
				r.slot("another kek", envelope.SlotKMS, root, "", 0)
				r.retire(s.ID)
			}
		}
	})
	add("one was rewrapped, one rotated", rewrap, rotated)
	anew := newRing("merge anew", "test", "tenant")
	root := anew.root("")
	anew.slot("", envelope.SlotKMS, root, "", 0)
	anew.key(use, class, root, "")
	add("two roots: one was begun anew", &anew.doc, fork(nil))
	stranger := fork(nil)
	stranger.Owner = "another"
	add("different owners", fork(nil), stranger)
	stranger = fork(nil)
	stranger.Environment = "prod"
	add("different environments", fork(nil), stranger)
	return list
}
