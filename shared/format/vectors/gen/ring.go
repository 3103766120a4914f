package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// t0 is 2025-01-15T12:00:00.000Z.
const t0 = 1736942400000

// ring is a keyset document being made, with everything in it unwrapped.
type ring struct {
	name    string
	doc     envelope.Document
	roots   map[format.KeyID][]byte
	keys    map[format.KeyID][]byte
	secrets map[[16]byte]opener
	now     int64
}

// opener is what opens a slot: the secret and the key that it yields.
type opener struct {
	secret *vectors.Secret
	key    []byte
}

func newRing(name, environment, owner string) *ring {
	return &ring{
		name: name, doc: envelope.Document{Environment: environment, Owner: owner}, now: t0,
		roots: map[format.KeyID][]byte{}, keys: map[format.KeyID][]byte{}, secrets: map[[16]byte]opener{},
	}
}

func (r *ring) draw(n int, label string) []byte { return draw(n, r.name+"/"+label) }

// tick returns the next time of the ring's fixed clock.
func (r *ring) tick() int64 {
	r.now += 1000
	return r.now
}

func (r *ring) root(label string) format.KeyID {
	root := r.draw(32, "root "+label)
	r.roots[plain.KeyID(root)] = root
	return plain.KeyID(root)
}

// slot adds a slot of the kind that opens the root.
func (r *ring) slot(label string, kind envelope.SlotKind, root format.KeyID, text string, iterations uint32) *envelope.Slot {
	s := envelope.Slot{
		ID: [16]byte(r.draw(16, "slot "+label)), Kind: kind, State: envelope.Enabled, CreatedAt: r.tick(), RootID: root, Iterations: iterations,
	}
	nonce, binding := r.draw(12, "slot nonce "+label), r.doc.BindRoot(root)
	o := r.open(&s, label, text)
	if kind == envelope.SlotKMS {
		id := plain.KeyID(o.key)
		s.URL = "base64key://" + hex.EncodeToString(id[:8])
		s.Wrapped = plain.WrapLocal(o.key, binding, nonce, r.roots[root])
	} else {
		s.KeyID = plain.KeyID(o.key)
		s.Wrapped = plain.Wrap(o.key, binding, nonce, r.roots[root])
	}
	r.secrets[s.ID] = o
	if err := r.doc.AddSlot(s); err != nil {
		panic(fmt.Errorf("slot %s: %w", label, err))
	}
	for i := range r.doc.Slots {
		if r.doc.Slots[i].ID == s.ID {
			return &r.doc.Slots[i]
		}
	}
	return nil
}

// open makes the slot's secret and the key that it yields.
func (r *ring) open(s *envelope.Slot, label, text string) opener {
	switch s.Kind {
	case envelope.SlotPassword:
		s.Salt = format.Salt(r.draw(16, "slot salt "+label))
		return opener{&vectors.Secret{Kind: "passphrase", Text: text}, plain.FromPassphrase(text, s.Salt, s.Iterations)}
	case envelope.SlotMasterKey:
		master := r.draw(32, "master key "+label)
		return opener{&vectors.Secret{Kind: "master-key", Text: base64.StdEncoding.EncodeToString(master)}, plain.FromMasterKey(master)}
	case envelope.SlotKMS:
		kek := r.draw(32, "kek "+label)
		return opener{&vectors.Secret{Kind: "kms", Text: base64.StdEncoding.EncodeToString(kek)}, plain.FromMasterKey(kek)}
	default:
		return opener{nil, r.draw(32, "slot key "+label)}
	}
}

// key adds a data key, which becomes the primary of its use and class.
func (r *ring) key(use format.Use, class classify.Class, root format.KeyID, label string) format.KeyID {
	name := fmt.Sprintf("%v %v %s", use, class, label)
	dek := r.draw(32, "key "+name)
	id := plain.KeyID(dek)
	wrapped := plain.Wrap(r.roots[root], r.doc.BindKey(use, uint8(class), id), r.draw(12, "key nonce "+name), dek)
	k := envelope.Key{ID: id, State: envelope.Enabled, CreatedAt: r.tick(), RootID: root, Wrapped: wrapped}
	if err := r.doc.AddKey(use, class, k); err != nil {
		panic(err)
	}
	r.keys[id] = dek
	return id
}

func (r *ring) advance(use format.Use, class classify.Class, id format.KeyID, to envelope.State) {
	if err := r.doc.Advance(use, class, id, to); err != nil {
		panic(err)
	}
}

// promote is a rollback.
func (r *ring) promote(use format.Use, class classify.Class, id format.KeyID) {
	if err := r.doc.Promote(use, class, id); err != nil {
		panic(err)
	}
}

// retire leaves a slot's tombstone.
func (r *ring) retire(id [16]byte) {
	if err := r.doc.DestroySlot(id); err != nil {
		panic(err)
	}
}

func (r *ring) bytes() []byte { return must(r.doc.Append(nil)) }

// primary returns the id and key that seal for a use and class.
func (r *ring) primary(use format.Use, class classify.Class) (format.KeyID, []byte) {
	id := r.doc.Keyset(use, class).Primary
	return id, r.keys[id]
}

// vector describes the ring.
func (r *ring) vector() vectors.Document {
	v := vectors.Document{
		Name: r.name, Bytes: r.bytes(), Environment: r.doc.Environment, Owner: r.doc.Owner,
		Slots: []vectors.Slot{}, Keysets: []vectors.Keyset{},
	}
	for i := range r.doc.Slots {
		v.Slots = append(v.Slots, r.slotVector(&r.doc.Slots[i]))
	}
	for i := range r.doc.Keysets {
		v.Keysets = append(v.Keysets, r.keysetVector(&r.doc.Keysets[i]))
	}
	return v
}

func (r *ring) slotVector(s *envelope.Slot) vectors.Slot {
	v := vectors.Slot{
		ID: s.ID[:], Kind: uint8(s.Kind), State: uint8(s.State), CreatedAt: s.CreatedAt, Iterations: s.Iterations, URL: s.URL,
		KeyID: s.KeyID[:], RootID: s.RootID[:],
	}
	if s.State == envelope.Enabled {
		v.Secret, v.Key, v.Root = r.secrets[s.ID].secret, r.secrets[s.ID].key, r.roots[s.RootID]
	}
	return v
}

func (r *ring) keysetVector(s *envelope.Keyset) vectors.Keyset {
	_, err := envelope.NewIndex(&r.doc).Primary(s.Use, s.Class)
	v := vectors.Keyset{Use: uint8(s.Use), Class: uint8(s.Class), Epoch: s.Epoch, Primary: s.Primary[:], Seals: err == nil}
	for i := range s.Keys {
		k := vectors.Key{
			ID: s.Keys[i].ID[:], State: uint8(s.Keys[i].State), CreatedAt: s.Keys[i].CreatedAt, RootID: s.Keys[i].RootID[:],
		}
		if s.Keys[i].State != envelope.Destroyed && !r.doc.Gone(s.Keys[i].RootID) {
			k.Key = r.keys[s.Keys[i].ID]
		}
		v.Keys = append(v.Keys, k)
	}
	return v
}
