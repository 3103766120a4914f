package main

import (
	"fmt"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// validDocuments holds the builders of the valid documents.
type validDocuments struct {
	all, states, slots, roots, empty, unicode *documentBuilder
	marks                                     *documentBuilder // its texts begin with U+FEFF
	system, foreign, begun                    *documentBuilder
	lives                                     []*documentBuilder // documents after operations of a server
	// Keys of the document with keys in every state, of use service and class phi.
	service struct{ old, disabled, compromised, destroyed format.KeyID }
}

func newValidDocuments() *validDocuments {
	r := &validDocuments{all: allUses(), slots: everySlot(), roots: twoRoots()}
	r.empty = newDocumentBuilder("empty", "", "tenant")
	r.unicode = newDocumentBuilder("non-ASCII owner", "prod-東京", "Klinik Zürich 😀")
	root := r.unicode.root("")
	r.unicode.slot("", envelope.SlotMasterKey, root, "", 0)
	r.unicode.key(format.UseStorage, classify.PHI, root, "")
	r.everyState()
	r.marks = newDocumentBuilder("byte order marks", "\ufeffprod", "\ufefftenant")
	root = r.marks.root("")
	r.marks.slot("", envelope.SlotMasterKey, root, "", 0)
	r.marks.key(format.UseStorage, classify.PHI, root, "")
	r.system = system()
	r.foreign, r.begun = foreignRoot(), restartedWithoutKeys()
	r.lives = []*documentBuilder{
		shredded(), rewrapped(), twoKEKs(), mergedLines(), restartedAfterShred(), replacedRoot(), destroyedPrimary(), oneSecretTwoLines(), r.foreign, foreignLine(),
		r.begun,
	}
	return r
}

// allUses returns a document with a keyset of every use and class. Most packages are sealed under its keys.
func allUses() *documentBuilder {
	r := newDocumentBuilder("all uses", "test", "vault-0c5f")
	root := r.root("")
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.slot("password", envelope.SlotPassword, root, "correct horse battery staple", classify.MinWriteIterations)
	for use := format.UseStorage; use <= format.UseFile; use++ {
		for _, class := range classify.All {
			r.key(use, class, root, "")
		}
	}
	return r
}

// everyState builds a document with former keys in every state, a rollback, and a primary that must not seal.
func (r *validDocuments) everyState() {
	s := newDocumentBuilder("every state", "test", "tenant-7")
	r.states = s
	root := s.root("")
	s.slot("master key", envelope.SlotMasterKey, root, "", 0)
	use, class := format.UseService, classify.PHI
	k := &r.service
	k.destroyed = s.key(use, class, root, "destroyed")
	k.disabled = s.key(use, class, root, "disabled")
	k.compromised = s.key(use, class, root, "compromised")
	k.old = s.key(use, class, root, "old")
	s.key(use, class, root, "primary")
	s.advance(use, class, k.disabled, envelope.Disabled)
	s.advance(use, class, k.compromised, envelope.Compromised)
	s.advance(use, class, k.destroyed, envelope.Destroyed)
	s.advance(format.UseCache, classify.PII, s.key(format.UseCache, classify.PII, root, ""), envelope.Compromised)
	first := s.key(format.UseField, classify.Internal, root, "first")
	s.key(format.UseField, classify.Internal, root, "second")
	s.promote(format.UseField, classify.Internal, first)
}

// everySlot returns a document with a slot of every kind, two slots of kinds that this version does not define, a password
// slot with iterations out of range, and a retired slot. All slots open one root.
func everySlot() *documentBuilder {
	r := newDocumentBuilder("every slot", "staging", "vault-slots")
	root := r.root("")
	r.slot("password at the floor", envelope.SlotPassword, root, "floor", envelope.MinIterations)
	r.slot("password, decomposed", envelope.SlotPassword, root, "Cafe\u0301 \u212b \u1e9b\u0323", 250_000)
	r.slot("password below the floor", envelope.SlotPassword, root, "below", envelope.MinIterations-1)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.slot("passkey", envelope.SlotPasskey, root, "", 0)
	r.slot("recovery", envelope.SlotRecovery, root, "", 0)
	r.slot("kms", envelope.SlotKMS, root, "", 0)
	r.slot("host", envelope.SlotHost, root, "", 0)
	r.slot("recipient", envelope.SlotRecipient, root, "", 0).Wrapped = []byte{1}
	for _, kind := range []envelope.SlotKind{8, 200} { // later kinds may use the iterations for another purpose
		later := r.slot(fmt.Sprint("later kind ", kind), envelope.SlotRecipient, root, "", 0)
		later.Kind, later.Iterations, later.Salt, later.URL, later.Wrapped = kind, 10_000_000, format.Salt{1}, "later://x", nil
	}
	r.retire(r.slot("retired", envelope.SlotMasterKey, root, "", 0).ID)
	r.resign()
	r.key(format.UseStorage, classify.Confidential, root, "")
	r.key(envelope.UseNames, 0, root, "")
	r.key(envelope.UseIndex, 0, root, "")
	return r
}

// system returns the system document of an environment.
func system() *documentBuilder {
	r := newDocumentBuilder("system", "prod", "")
	root := r.root("")
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.slot("kms", envelope.SlotKMS, root, "", 0)
	for _, use := range []format.Use{envelope.UseTokens, envelope.UseAudit} {
		r.key(use, 0, root, "")
	}
	r.addKey(envelope.UseShreds, 0, root, "", shredKey)
	return r
}

// twoRoots returns a document with two roots, for example of two KEKs.
func twoRoots() *documentBuilder {
	r := newDocumentBuilder("two roots", "prod", "tenant-9")
	former, root := r.root("former"), r.root("")
	r.slot("former", envelope.SlotMasterKey, former, "", 0)
	r.slot("master key", envelope.SlotMasterKey, root, "", 0)
	r.key(format.UseCache, classify.PHI, former, "former")
	r.key(format.UseCache, classify.PHI, root, "")
	r.key(format.UseFile, classify.Public, former, "")
	return r
}
