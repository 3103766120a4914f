package main

import (
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// shredded returns a document that was rotated, rolled back and then shredded.
func shredded() *documentBuilder {
	r := newDocumentBuilder("shredded", "prod", "tenant-1")
	root := r.root("")
	r.slot("kms", envelope.SlotKMS, root, "", 0)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	first := r.key(format.UseCache, classify.PHI, root, "first")
	r.key(format.UseCache, classify.PHI, root, "second")
	r.key(format.UseService, classify.Public, root, "")
	r.promote(format.UseCache, classify.PHI, first)
	r.shred()
	return r
}

// rewrapped returns a document that moved from one KEK to another. Only the slot of the second KEK is left. The document
// was rotated and rolled back in between.
func rewrapped() *documentBuilder {
	r := newDocumentBuilder("rewrapped", "prod", "tenant-2")
	root := r.root("")
	former := *r.slot("former kek", envelope.SlotKMS, root, "", 0)
	first := r.key(format.UseCache, classify.PHI, root, "first")
	leaked := r.key(format.UseCache, classify.PII, root, "leaked")
	r.key(format.UseCache, classify.PHI, root, "second")
	r.key(format.UseCache, classify.PII, root, "")
	r.advance(format.UseCache, classify.PII, leaked, envelope.Compromised)
	r.slot("kek", envelope.SlotKMS, root, "", 0)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.retire(former.ID)
	r.promote(format.UseCache, classify.PHI, first)
	return r
}

// twoKEKs returns a document with a root under each of two KEKs. The second one is for the most sensitive class.
func twoKEKs() *documentBuilder {
	r := newDocumentBuilder("two KEKs", "prod", "tenant-3")
	general, phi := r.root("general"), r.root("phi")
	r.slot("general", envelope.SlotKMS, general, "", 0)
	r.slot("phi", envelope.SlotKMS, phi, "", 0)
	r.slot("master key", envelope.SlotMasterKey, general, "", 0)
	for _, class := range classify.All {
		root := general
		if class == classify.PHI {
			root = phi
		}
		r.key(format.UseCache, class, root, "")
	}
	return r
}

// mergedLines returns the document of a tenant that lost its document, started a new one and later restored a backup. A
// keyset has keys of two lines.
func mergedLines() *documentBuilder {
	r := newDocumentBuilder("joined", "prod", "tenant-4")
	again, restored := r.rootOf("again", "again", 1), r.rootOf("restored", "restored", 3)
	r.slot("restored", envelope.SlotKMS, restored, "", 0)
	r.slot("restored master key", envelope.SlotMasterKey, restored, "", 0)
	r.slot("again", envelope.SlotKMS, again, "", 0)
	r.slot("again master key", envelope.SlotMasterKey, again, "", 0)
	r.key(format.UseCache, classify.PHI, restored, "restored")
	r.key(format.UseService, classify.PHI, restored, "restored")
	r.key(format.UseCache, classify.PHI, again, "again")
	r.key(format.UseService, classify.PHI, again, "again")
	return r
}

// restartedAfterShred returns the document of a tenant that was shredded and started again. Its former line stays shredded.
func restartedAfterShred() *documentBuilder {
	r := newDocumentBuilder("began again", "prod", "tenant-5")
	former := r.rootOf("former", "former", 2)
	r.slot("former", envelope.SlotKMS, former, "", 0)
	r.key(format.UseCache, classify.PHI, former, "former")
	r.shred()
	shreds := r.doc.Shreds
	r.doc.Shreds = nil
	root := r.rootOf("", "again", 1)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.key(format.UseCache, classify.PHI, root, "")
	r.doc.Shreds = shreds
	return r
}

// restartedWithoutKeys returns the document of a tenant that was shredded and started again, but has no key yet. It is not
// a shredded document.
func restartedWithoutKeys() *documentBuilder {
	r := newDocumentBuilder("began again without keys", "prod", "tenant-13")
	r.slot("master key", envelope.SlotMasterKey, r.rootOf("", "again", 1), "", 0)
	if err := r.doc.ShredLines([][16]byte{{1}}, r.nextTime()); err != nil {
		panic(err)
	}
	r.sign()
	return r
}

// replacedRoot returns a document in which the root was replaced. The slots and retired slots of the former root are gone.
func replacedRoot() *documentBuilder {
	r := newDocumentBuilder("replaced", "prod", "tenant-6")
	former := r.root("former")
	r.slot("former", envelope.SlotKMS, former, "", 0)
	r.retire(r.slot("retired", envelope.SlotMasterKey, former, "", 0).ID)
	gone := r.key(format.UseCache, classify.PHI, former, "gone")
	r.key(format.UseCache, classify.PHI, former, "leaked")
	r.advance(format.UseCache, classify.PHI, gone, envelope.Destroyed)
	root := r.rootOf("", "", 2)
	r.slot("kms", envelope.SlotKMS, root, "", 0)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.replace(root)
	r.key(format.UseCache, classify.PHI, root, "")
	return r
}

// oneSecretTwoLines returns a document with slots of one secret for the roots of two lines, as after a restore. Its
// primaries have equal epochs.
func oneSecretTwoLines() *documentBuilder {
	r := newDocumentBuilder("one secret of two roots", "prod", "tenant-10")
	first, second := r.rootOf("first", "first", 1), r.rootOf("second", "second", 2)
	secret := r.secrets[r.slot("first", envelope.SlotMasterKey, first, "", 0).ID]
	s := r.slot("second", envelope.SlotMasterKey, second, "", 0)
	s.CreatedAt = format.MaxTime
	s.KeyID, s.MAC = plain.KeyID(secret.key), [envelope.MACSize]byte{}
	s.Wrapped = plain.Wrap(secret.key, r.doc.RootBinding(r.names[second]), r.draw(12, "nonce"), r.roots[second])
	r.secrets[s.ID] = secret
	for _, use := range []format.Use{format.UseCache, format.UseService} {
		for _, root := range []format.KeyID{first, second} {
			r.key(use, classify.PHI, root, fmt.Sprintf("%x of %d", root[:1], use))
		}
		for i := range r.doc.Keyset(use, classify.PHI).Primaries { // each was the first primary of its copy
			r.doc.Keyset(use, classify.PHI).Primaries[i].Epoch = 1
		}
	}
	for class := classify.Public; class < classify.PHI; class++ { // for some classes, the lower key id has the higher epoch
		for _, root := range []format.KeyID{first, second} {
			r.key(format.UseCache, class, root, fmt.Sprintf("%x", root[:1]))
		}
		for i := range r.doc.Keyset(format.UseCache, class).Primaries {
			r.doc.Keyset(format.UseCache, class).Primaries[i].Epoch = uint32(2 - i)
		}
	}
	return r
}

// destroyedPrimary returns a document with a primary that a restore destroyed, because the audit log records that it had
// been destroyed. The keyset does not seal until it gets another primary.
func destroyedPrimary() *documentBuilder {
	r := newDocumentBuilder("destroyed primary", "prod", "tenant-8")
	root := r.root("")
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.key(format.UseCache, classify.PHI, root, "")
	lost := r.key(format.UseCache, classify.PHI, root, "lost")
	r.doc.DestroyKeys(map[format.KeyID]bool{lost: true})
	r.sign()
	return r
}

// foreignRoot returns a document to which an attacker without its secrets added a root and primaries of the highest epochs.
func foreignRoot() *documentBuilder {
	r := newDocumentBuilder("foreign root", "prod", "tenant-11")
	root, foreign := r.root(""), r.rootOf("foreign", "foreign", 1)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.slot("foreign", envelope.SlotRecipient, foreign, "", 0)
	r.key(format.UseStorage, classify.PHI, root, "")
	r.key(format.UseStorage, classify.PHI, foreign, "foreign")
	r.key(format.UseCache, classify.PHI, foreign, "foreign cache")
	for i := range r.doc.Keysets {
		s := &r.doc.Keysets[i]
		for j := range s.Primaries {
			if s.Primaries[j].Root.ID == foreign {
				s.Primaries[j].Epoch = 1<<32 - 1
			}
		}
	}
	r.resign()
	return r
}

// foreignLine returns a document to which such an attacker added records that name the root's id in another line. These
// records are not under the root, so their wrong MACs have no effect.
func foreignLine() *documentBuilder {
	r := newDocumentBuilder("foreign line", "prod", "tenant-12")
	id := r.root("")
	r.slot("master key", envelope.SlotMasterKey, id, "", 0)
	r.key(format.UseStorage, classify.PHI, id, "")
	r.sign()
	foreign, mac := envelope.Root{Line: [16]byte(r.draw(16, "line foreign")), Generation: 1, ID: id}, [envelope.MACSize]byte{1}
	added := envelope.Slot{Kind: envelope.SlotRecipient, Root: foreign, KeyID: id, Wrapped: []byte{1}, MAC: mac}
	k := envelope.Key{ID: format.KeyID{1}, State: envelope.Enabled, Root: foreign, Wrapped: make([]byte, envelope.WrappedSize), MAC: mac}
	if err := errors.Join(r.doc.AddSlot(added), r.doc.AddKey(format.UseStorage, classify.PHI, k)); err != nil {
		panic(err)
	}
	r.doc.Retired = []envelope.RetiredSlot{{ID: [16]byte{1}, Root: foreign, MAC: [envelope.RetiredMACSize]byte{1}}}
	for i := range r.doc.Keysets[0].Primaries {
		if p := &r.doc.Keysets[0].Primaries[i]; p.Root == foreign {
			p.Epoch, p.MAC = 1<<32-1, mac
		}
	}
	return r
}
