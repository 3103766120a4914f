//go:build js && wasm

package main

import (
	"encoding/binary"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var errHandle = &codes.Error{Of: "closed", Text: "no such session"}

// session is what one open store or service keeps here: a keyset document, or one key that needs none.
type session struct {
	document *envelope.Document
	index    *envelope.Index
	records  []envelope.Record // of the document, while they are read
	single   format.Header     // of packages without a keyset: source, iterations and key id
	writers  [format.Uses + 1][classify.PHI + 1]writer
}

type writer struct {
	salt   format.Salt
	budget *envelope.Budget
}

var sessions = map[int32]*session{}
var lastHandle int32

func open(s *session) int32 {
	lastHandle++
	sessions[lastHandle] = s
	return lastHandle
}

func sessionOf(handle int32) (*session, error) {
	s, ok := sessions[handle]
	if !ok {
		return nil, errHandle
	}
	return s, nil
}

func documentOf(handle int32) (*envelope.Document, error) {
	s, err := sessionOf(handle)
	if err == nil && s.document == nil {
		err = errHandle
	}
	if err != nil {
		return nil, err
	}
	return s.document, nil
}

// openDocument reads a keyset document of n bytes and returns a handle. It seals and opens nothing before openRoots.
//
//go:wasmexport openDocument
func openDocument(n int32) (result int32) {
	defer guard(&result)
	d, err := envelope.ParseDocument(input(n))
	if err != nil {
		return failed(err)
	}
	return open(&session{document: d, index: envelope.NewIndex(d.Under(func(envelope.Root) bool { return false }))})
}

// openRoots has the session seal and open by the records that are under some roots, and by no others. The input of n bytes is the
// names of the roots that the shell opened, as records have them.
//
//go:wasmexport openRoots
func openRoots(handle, n int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	opened := map[envelope.Root]bool{}
	for b := input(n); len(b) > 0; b = b[envelope.RootSize:] {
		root, err := envelope.ParseRoot(b[:min(envelope.RootSize, len(b))])
		if err != nil {
			return failed(err)
		}
		opened[root] = true
	}
	sessions[handle].index = envelope.NewIndex(d.Under(func(root envelope.Root) bool { return opened[root] }))
	return 0
}

// newDocument begins a document; the input is the environment, then the owner.
//
//go:wasmexport newDocument
func newDocument(environment, owner int32) (result int32) {
	defer guard(&result)
	b := input(environment + owner)
	d := &envelope.Document{Environment: string(b[:environment]), Owner: string(b[environment:])}
	if d.Owner == "" {
		return failed(envelope.ErrInvalid)
	}
	if err := d.Check(); err != nil {
		return failed(err)
	}
	return open(&session{document: d, index: envelope.NewIndex(d)})
}

// closeSession forgets a handle.
//
//go:wasmexport closeSession
func closeSession(handle int32) { delete(sessions, handle) }

// encodeDocument writes a document.
//
//go:wasmexport encodeDocument
func encodeDocument(handle int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	return output(d.Append(out))
}

// addSlot adds the slot whose encoding is the input, which is signed later.
//
//go:wasmexport addSlot
func addSlot(handle, n int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	slot, err := envelope.ParseSlot(input(n))
	if err == nil {
		err = d.AddSlot(slot)
	}
	return output(out, err)
}

// addKey makes a key the primary of its use and class; the input is its id, the root as records name it, and the wrapped bytes.
// Both are signed later.
//
//go:wasmexport addKey
func addKey(handle, use, class, n int32, createdAt float64) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	b := input(n)
	root, err := envelope.ParseRoot(b[format.KeyIDSize : format.KeyIDSize+envelope.RootSize])
	if err != nil {
		return failed(err)
	}
	k := envelope.Key{
		ID: format.KeyID(b), State: envelope.Enabled, CreatedAt: whole(createdAt), Root: root,
		Wrapped: append([]byte(nil), b[format.KeyIDSize+envelope.RootSize:]...),
	}
	if err = d.AddKey(format.Use(small(use)), classify.Class(small(class)), k); err == nil {
		sessions[handle].index = envelope.NewIndex(d)
	}
	return output(out, err)
}

// owner writes the document's owner.
//
//go:wasmexport owner
func owner(handle int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	return output(append(out, d.Owner...), nil)
}

// environment writes the document's environment label.
//
//go:wasmexport environment
func environment(handle int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	return output(append(out, d.Environment...), nil)
}

// slot writes the encoding of slot i; 0 past the last.
//
//go:wasmexport slot
func slot(handle, i int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil || int(i) >= len(d.Slots) {
		return output(out, err)
	}
	return output(d.Slots[i].Append(out), nil)
}

// key writes key i, counted over all keysets: use, class, state, id, root, 16-bit length and wrapped
// bytes; 0 past the last. The root is as records name it.
//
//go:wasmexport key
func key(handle, i int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	for _, set := range d.Keysets {
		if int(i) >= len(set.Keys) {
			i -= int32(len(set.Keys))
			continue
		}
		k := &set.Keys[i]
		b := append(out, byte(set.Use), byte(set.Class), byte(k.State))
		b = k.Root.Append(append(b, k.ID[:]...))
		b = binary.BigEndian.AppendUint16(b, uint16(len(k.Wrapped)))
		return output(append(b, k.Wrapped...), nil)
	}
	return 0
}

// record writes authenticated record i: the length of its MAC in a byte, the MAC, its root and the message that the MAC is of; 0 past
// the last. The MAC of a record that is to be signed is zero, and so is the root of a shred record.
//
//go:wasmexport record
func record(handle, i int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	s := sessions[handle]
	if i == 0 { // once for all of them, or reading a document of thousands takes their square
		s.records = nil
		for r := range d.Records {
			s.records = append(s.records, *r)
		}
	}
	if int(i) >= len(s.records) {
		return 0
	}
	r := &s.records[i]
	b := r.Root.Append(append(append(out, byte(len(r.MAC))), r.MAC...))
	return output(append(b, r.Message...), nil)
}

// sign sets the MAC of authenticated record i; the input is the MAC of 32 bytes.
//
//go:wasmexport sign
func sign(handle, i int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	mac := input(envelope.MACSize)
	for r := range d.Records {
		if i--; i < 0 {
			copy(r.MAC, mac)
			return 0
		}
	}
	return failed(envelope.ErrInvalid)
}

// checkDerivations decides whether a password may be tried on the document's slots.
//
//go:wasmexport checkDerivations
func checkDerivations(handle int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err == nil {
		err = d.CheckDerivations()
	}
	return output(out, err)
}

// checkSlot decides whether the key of slot i may be derived.
//
//go:wasmexport checkSlot
func checkSlot(handle, i int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err == nil {
		err = d.Slots[i].CheckIterations()
	}
	return output(out, err)
}

// binding writes the additional data of a wrapped key whose id is the input. Use 0 is a root, whose name is the input.
//
//go:wasmexport binding
func binding(handle, use, class int32) (result int32) {
	defer guard(&result)
	d, err := documentOf(handle)
	if err != nil {
		return failed(err)
	}
	if use == 0 {
		root, err := envelope.ParseRoot(input(envelope.RootSize))
		b := d.BindRoot(root)
		return output(b.Append(out), err)
	}
	b := d.BindKey(format.Use(small(use)), small(class), format.KeyID(input(format.KeyIDSize)))
	return output(b.Append(out), nil)
}

// primary writes the id of the key that seals for a use and class.
//
//go:wasmexport primary
func primary(handle, use, class int32) (result int32) {
	defer guard(&result)
	s, err := sessionOf(handle)
	if err != nil {
		return failed(err)
	}
	id, err := s.primary(format.Use(small(use)), classify.Class(small(class)))
	return output(append(out, id[:]...), err)
}

func (s *session) primary(use format.Use, class classify.Class) (format.KeyID, error) {
	if s.document == nil {
		return s.single.KeyID, nil
	}
	return s.index.Primary(use, class)
}
