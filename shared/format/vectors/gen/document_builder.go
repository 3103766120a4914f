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

// startTime is 2025-01-15T12:00:00.000Z.
const startTime = 1736942400000

// shredKey is the system document's key of use shreds, which authenticates the shred records of all vectors.
var shredKey = draw(32, "shred key")

// documentBuilder builds a keyset document and keeps everything in it unwrapped.
type documentBuilder struct {
	name    string
	doc     envelope.Document
	names   map[format.KeyID]envelope.Root
	roots   map[format.KeyID][]byte
	keys    map[format.KeyID][]byte
	secrets map[[16]byte]opener
	now     int64
}

// opener is the secret of a slot and the key that is derived from it.
type opener struct {
	secret *vectors.Secret
	key    []byte
}

func newDocumentBuilder(name, environment, owner string) *documentBuilder {
	return &documentBuilder{
		name: name, doc: envelope.Document{Environment: environment, Owner: owner}, now: startTime, names: map[format.KeyID]envelope.Root{},
		roots: map[format.KeyID][]byte{}, keys: map[format.KeyID][]byte{}, secrets: map[[16]byte]opener{},
	}
}

func (r *documentBuilder) draw(n int, label string) []byte { return draw(n, r.name+"/"+label) }

// nextTime returns the next time of the builder's fixed clock, in milliseconds since 1970-01-01T00:00:00Z.
func (r *documentBuilder) nextTime() int64 {
	r.now += 1000
	return r.now
}

// root adds a root of the first line and generation.
func (r *documentBuilder) root(label string) format.KeyID { return r.rootOf(label, "", 1) }

func (r *documentBuilder) rootOf(label, line string, generation uint32) format.KeyID {
	root := r.draw(32, "root "+label)
	id := plain.KeyID(root)
	r.roots[id] = root
	r.names[id] = envelope.Root{Line: [16]byte(r.draw(16, "line "+line)), Generation: generation, ID: id}
	return id
}

// slot adds a slot of the given kind that opens the root.
func (r *documentBuilder) slot(label string, kind envelope.SlotKind, root format.KeyID, text string, iterations uint32) *envelope.Slot {
	s := envelope.Slot{ID: [16]byte(r.draw(16, "slot "+label)), Kind: kind, CreatedAt: r.nextTime(), Root: r.names[root], Iterations: iterations}
	nonce, binding := r.draw(12, "slot nonce "+label), r.doc.RootBinding(r.names[root])
	o := r.open(&s, label, text)
	switch kind {
	case envelope.SlotKMS:
		id := plain.KeyID(o.key)
		s.URL = "base64key://" + hex.EncodeToString(id[:8])
		s.Wrapped = plain.WrapLocal(o.key, binding, nonce, r.roots[root])
	case envelope.SlotRecipient:
		s.KeyID, s.Wrapped = plain.KeyID(o.key), r.draw(1196, "recipient "+label)
	default:
		s.KeyID = plain.KeyID(o.key)
		s.Wrapped = plain.Wrap(o.key, binding, nonce, r.roots[root])
	}
	if kind == envelope.SlotPasskey || kind == envelope.SlotHost || kind == envelope.SlotRecipient {
		s.Parameters = r.draw(48, "parameters "+label)
	}
	r.secrets[s.ID] = o
	if err := r.doc.AddSlot(s); err != nil {
		panic(fmt.Errorf("slot %s: %w", label, err))
	}
	r.sign()
	return r.slotOf(s.ID)
}

func (r *documentBuilder) slotOf(id [16]byte) *envelope.Slot {
	for i := range r.doc.Slots {
		if r.doc.Slots[i].ID == id {
			return &r.doc.Slots[i]
		}
	}
	return nil
}

// sign computes the missing MACs.
func (r *documentBuilder) sign() {
	named := plain.Roots{}
	for _, root := range r.doc.Roots() {
		named[root] = r.roots[root.ID]
	}
	if err := r.doc.Sign(plain.Authenticator(named, shredKey)); err != nil {
		panic(fmt.Errorf("%s: %w", r.name, err))
	}
}

// resign computes all MACs again, so that a reader must refuse the document for another reason.
func (r *documentBuilder) resign() {
	for record := range r.doc.Records {
		clear(record.MAC)
	}
	r.sign()
}

// open draws the secret of a slot and derives its key.
func (r *documentBuilder) open(s *envelope.Slot, label, text string) opener {
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

// key adds a data key and makes it the primary of its use and class.
func (r *documentBuilder) key(use format.Use, class classify.Class, root format.KeyID, label string) format.KeyID {
	return r.addKey(use, class, root, label, r.draw(32, "key "+keyName(use, class, label)))
}

func keyName(use format.Use, class classify.Class, label string) string {
	if use >= envelope.UseNames {
		return fmt.Sprintf("%d %s", use, label)
	}
	return fmt.Sprintf("%v %v %s", use, class, label)
}

func (r *documentBuilder) addKey(use format.Use, class classify.Class, root format.KeyID, label string, dek []byte) format.KeyID {
	name := keyName(use, class, label)
	id := plain.KeyID(dek)
	wrapped := plain.Wrap(r.roots[root], r.doc.KeyBinding(use, uint8(class), id), r.draw(12, "key nonce "+name), dek)
	k := envelope.Key{ID: id, State: envelope.Enabled, CreatedAt: r.nextTime(), Root: r.names[root], Wrapped: wrapped}
	if err := r.doc.AddKey(use, class, k); err != nil {
		panic(err)
	}
	r.keys[id] = dek
	return id
}

func (r *documentBuilder) advance(use format.Use, class classify.Class, id format.KeyID, to envelope.State) {
	if err := r.doc.Advance(use, class, id, to); err != nil {
		panic(err)
	}
}

// promote makes an earlier key the primary again.
func (r *documentBuilder) promote(use format.Use, class classify.Class, id format.KeyID) {
	if err := r.doc.Promote(use, class, id); err != nil {
		panic(err)
	}
}

// retire removes a slot and adds a retired slot.
func (r *documentBuilder) retire(id [16]byte) {
	if err := r.doc.RetireSlot(id); err != nil {
		panic(err)
	}
}

// replace moves every key under another root, as a server does if a root leaked.
func (r *documentBuilder) replace(to format.KeyID) {
	for _, s := range r.doc.Keysets {
		for _, k := range s.Keys {
			var wrapped []byte
			if k.State != envelope.Destroyed {
				wrapped = plain.Wrap(r.roots[to], r.doc.KeyBinding(s.Use, uint8(s.Class), k.ID), r.draw(12, fmt.Sprintf("moved %x", k.ID)), r.keys[k.ID])
			}
			if err := r.doc.MoveKey(s.Use, s.Class, k.ID, r.names[to], k.State, wrapped); err != nil {
				panic(err)
			}
		}
	}
	r.doc.RemoveVoid()
	r.sign()
}

// shred shreds the whole document.
func (r *documentBuilder) shred() {
	if err := r.doc.Shred(r.nextTime()); err != nil {
		panic(err)
	}
	r.sign()
}

func (r *documentBuilder) bytes() []byte {
	r.sign()
	return must(r.doc.Append(nil))
}

// primary returns the id and the bytes of the primary key of a use and class.
func (r *documentBuilder) primary(use format.Use, class classify.Class) (format.KeyID, []byte) {
	id := r.doc.Keyset(use, class).Primary()
	return id, r.keys[id]
}

// vector returns the vector of the document.
func (r *documentBuilder) vector() vectors.Document {
	v := vectors.Document{
		Name: r.name, Bytes: r.bytes(), Environment: r.doc.Environment, Owner: r.doc.Owner,
		Slots: []vectors.Slot{}, Keysets: []vectors.Keyset{},
	}
	for i := range r.doc.Slots {
		v.Slots = append(v.Slots, r.slotVector(&r.doc.Slots[i]))
	}
	for _, one := range r.doc.Retired {
		v.Retired = append(v.Retired, vectors.Retired{ID: one.ID[:], Line: one.Root.Line[:], Generation: one.Root.Generation, RootID: one.Root.ID[:]})
	}
	for _, one := range r.doc.Shreds {
		v.Shreds, v.ShredKey = append(v.Shreds, vectors.Shred{Line: one.Line[:], ShreddedAt: one.ShreddedAt}), shredKey
	}
	for i := range r.doc.Keysets {
		v.Keysets = append(v.Keysets, r.keysetVector(&r.doc.Keysets[i], r.opened()))
	}
	return v
}

func (r *documentBuilder) slotVector(s *envelope.Slot) vectors.Slot {
	v := vectors.Slot{
		ID: s.ID[:], Kind: uint8(s.Kind), CreatedAt: s.CreatedAt, Iterations: s.Iterations, URL: s.URL, Parameters: s.Parameters,
		KeyID: s.KeyID[:], Line: s.Root.Line[:], Generation: s.Root.Generation, RootID: s.Root.ID[:],
	}
	if opens(s) {
		v.Secret, v.Key, v.Root = r.secrets[s.ID].secret, r.secrets[s.ID].key, r.roots[s.Root.ID]
	}
	return v
}

// opens reports whether a reader of this version can open a root by the slot.
func opens(s *envelope.Slot) bool {
	return s.CheckIterations() == nil && s.Kind < envelope.SlotRecipient
}

// opened returns the part of the document that a reader with all secrets can verify.
func (r *documentBuilder) opened() *envelope.Document {
	roots := map[envelope.Root]bool{}
	for i := range r.doc.Slots {
		if s := &r.doc.Slots[i]; opens(s) {
			roots[s.Root] = true
		}
	}
	return r.doc.OnlyUnder(func(root envelope.Root) bool { return roots[root] })
}

func (r *documentBuilder) keysetVector(s *envelope.Keyset, opened *envelope.Document) vectors.Keyset {
	v := vectors.Keyset{Use: uint8(s.Use), Class: uint8(s.Class)}
	read := opened.Keyset(s.Use, s.Class)
	if read != nil {
		_, err := envelope.NewIndex(opened).Primary(s.Use, s.Class)
		primary := read.Primary()
		v.Epoch, v.Primary, v.Seals = read.Epoch(), primary[:], err == nil
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		one := vectors.Key{
			ID: k.ID[:], State: uint8(k.State), CreatedAt: k.CreatedAt, Line: k.Root.Line[:], Generation: k.Root.Generation, RootID: k.Root.ID[:],
		}
		if k.State != envelope.Destroyed && read != nil && read.Key(k.ID) != nil {
			one.Key = r.keys[k.ID]
		}
		v.Keys = append(v.Keys, one)
	}
	return v
}
