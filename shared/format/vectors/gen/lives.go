package main

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// shredded has lost every slot and key, rotated and rolled back before.
func shredded() *ring {
	r := newRing("shredded", "prod", "tenant-1")
	root := r.root("")
	r.slot("kms", envelope.SlotKMS, root, "", 0)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	first := r.key(format.UseCache, classify.PHI, root, "first")
	r.key(format.UseCache, classify.PHI, root, "second")
	r.key(format.UseService, classify.Public, root, "")
	r.promote(format.UseCache, classify.PHI, first)
	r.doc.Shred()
	return r
}

// rewrapped has gone from one KEK to another, whose slot is the only one left, and was rotated and rolled
// back in between.
func rewrapped() *ring {
	r := newRing("rewrapped", "prod", "tenant-2")
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

// twoKEKs has a root under each of two KEKs, one of which is for the most sensitive class.
func twoKEKs() *ring {
	r := newRing("two KEKs", "prod", "tenant-3")
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

// joined is a tenant that was begun anew after its document was lost, and restored from a backup then: a
// keyset has keys of both roots.
func joined() *ring {
	r := newRing("joined", "prod", "tenant-4")
	anew, restored := r.root("anew"), r.root("restored")
	r.slot("restored", envelope.SlotKMS, restored, "", 0)
	r.slot("restored master key", envelope.SlotMasterKey, restored, "", 0)
	r.slot("anew", envelope.SlotKMS, anew, "", 0)
	r.slot("anew master key", envelope.SlotMasterKey, anew, "", 0)
	r.key(format.UseCache, classify.PHI, restored, "restored")
	r.key(format.UseService, classify.PHI, restored, "restored")
	r.key(format.UseCache, classify.PHI, anew, "anew")
	r.key(format.UseService, classify.PHI, anew, "anew")
	return r
}

// halfGone is one whose former life was shredded: the slots of that root are tombstones, and a key under it
// that a merge brought is as destroyed, though its state is enabled. It is a primary, too.
func halfGone() *ring {
	r := newRing("half gone", "prod", "tenant-5")
	gone, root := r.root("gone"), r.root("")
	former := *r.slot("gone", envelope.SlotKMS, gone, "", 0)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.key(format.UseCache, classify.PHI, gone, "gone")
	r.key(format.UseCache, classify.PHI, root, "")
	r.key(format.UseField, classify.PII, gone, "gone")
	lost := r.key(format.UseService, classify.PII, root, "lost")
	r.doc.Keyset(format.UseService, classify.PII).Keys[0].State = envelope.Destroyed
	r.doc.Keyset(format.UseService, classify.PII).Keys[0].Wrapped = nil
	delete(r.keys, lost)
	for i := range r.doc.Slots {
		if s := &r.doc.Slots[i]; s.ID == former.ID {
			s.State, s.Wrapped = envelope.Destroyed, nil
		}
	}
	return r
}
