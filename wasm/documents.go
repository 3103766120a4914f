//go:build js && wasm

package main

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/wire"
)

// openDocument reads a keyset document of n bytes and returns a handle. It seals and opens nothing before openRoots.
//
//go:wasmexport openDocument
func openDocument(n int32) int32 {
	return number(func() (int32, error) {
		d, err := envelope.ParseDocument(input(n))
		if err != nil {
			return 0, err
		}
		return openOver(d, func(envelope.Root) bool { return false }), nil
	})
}

// openRoots has the session seal and open by the records that are under some roots, and by no others. The input of n bytes is the
// names of the roots that the shell opened, as records have them.
//
//go:wasmexport openRoots
func openRoots(handle, n int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		var opened []envelope.Root
		for b := input(n); len(b) > 0; b = b[envelope.RootSize:] {
			root, err := envelope.ParseRoot(b[:min(envelope.RootSize, len(b))])
			if err != nil {
				return nil, err
			}
			opened = append(opened, root)
		}
		s.index = envelope.NewIndexUnder(s.document, func(root envelope.Root) bool {
			for i := range opened {
				if opened[i] == root {
					return true
				}
			}
			return false
		})
		return nil, nil
	})
}

// newDocument begins a document; the input is the environment, then the owner.
//
//go:wasmexport newDocument
func newDocument(environment, owner int32) int32 {
	return number(func() (int32, error) {
		b := input(environment + owner)
		d := &envelope.Document{Environment: string(b[:environment]), Owner: string(b[environment:])}
		if d.Owner == "" {
			return 0, envelope.ErrInvalid
		}
		if err := d.Check(); err != nil {
			return 0, err
		}
		return openOver(d, func(envelope.Root) bool { return true }), nil
	})
}

// encodeDocument writes a document.
//
//go:wasmexport encodeDocument
func encodeDocument(handle int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) { return s.document.Append(out) })
}

// addSlot adds the slot whose encoding is the input, which is signed later.
//
//go:wasmexport addSlot
func addSlot(handle, n int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		slot, err := envelope.ParseSlot(input(n))
		if err == nil {
			err = s.document.AddSlot(slot)
		}
		s.records = nil
		return nil, err
	})
}

// addKey makes a key the primary of its use and class; the input is its id, the root as records name it, and the wrapped bytes.
// Both are signed later.
//
//go:wasmexport addKey
func addKey(handle, use, class, n int32, createdAt float64) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		b := input(n)
		wrapped := b[format.KeyIDSize+envelope.RootSize:]
		root, err := envelope.ParseRoot(b[format.KeyIDSize : format.KeyIDSize+envelope.RootSize])
		if err != nil {
			return nil, err
		}
		k := envelope.Key{ID: format.KeyID(b), State: envelope.Enabled, CreatedAt: whole(createdAt), Root: root, Wrapped: append([]byte(nil), wrapped...)}
		if err = s.document.AddKey(format.Use(small(use)), classify.Class(small(class)), k); err == nil {
			s.changed()
		}
		return nil, err
	})
}

// owner writes the document's owner.
//
//go:wasmexport owner
func owner(handle int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) { return append(out, s.document.Owner...), nil })
}

// environment writes the document's environment label.
//
//go:wasmexport environment
func environment(handle int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) { return append(out, s.document.Environment...), nil })
}

// slot writes the encoding of slot i; 0 past the last.
//
//go:wasmexport slot
func slot(handle, i int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		if int(i) >= len(s.document.Slots) {
			return nil, nil
		}
		return s.document.Slots[i].Append(out), nil
	})
}

// key writes key i, counted over all keysets: use, class, state, id, root, 16-bit length and wrapped
// bytes; 0 past the last. The root is as records name it.
//
//go:wasmexport key
func key(handle, i int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		for n := range s.document.Keysets {
			set := &s.document.Keysets[n]
			if int(i) >= len(set.Keys) {
				i -= int32(len(set.Keys))
				continue
			}
			k := &set.Keys[i]
			b := append(out, byte(set.Use), byte(set.Class), byte(k.State))
			b = k.Root.Append(wire.AppendBytes(b, k.ID[:]))
			return wire.AppendBytes(wire.AppendUint(b, uint64(len(k.Wrapped)), 2), k.Wrapped), nil
		}
		return nil, nil
	})
}

// record writes authenticated record i: the length of its MAC in a byte, the MAC, its root and the message that the MAC is of; 0 past
// the last. The MAC of a record that is to be signed is zero, and so is the root of a shred record.
//
//go:wasmexport record
func record(handle, i int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		records := s.readRecords()
		if int(i) >= len(records) {
			return nil, nil
		}
		r := &records[i]
		b := wire.AppendBytes(append(out, byte(len(r.MAC))), r.MAC)
		return wire.AppendBytes(r.Root.Append(b), r.Message), nil
	})
}

// sign sets the MAC of authenticated record i; the input is the MAC of 32 bytes.
//
//go:wasmexport sign
func sign(handle, i int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		records := s.readRecords()
		if int(i) >= len(records) {
			return nil, envelope.ErrInvalid
		}
		copy(records[i].MAC, input(envelope.MACSize))
		return nil, nil
	})
}

// checkDerivations decides whether a password may be tried on the document's slots.
//
//go:wasmexport checkDerivations
func checkDerivations(handle int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) { return nil, s.document.CheckDerivations() })
}

// checkSlot decides whether the key of slot i may be derived.
//
//go:wasmexport checkSlot
func checkSlot(handle, i int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) { return nil, s.document.Slots[i].CheckIterations() })
}

// binding writes the additional data of a wrapped key whose id is the input. Use 0 is a root, whose name is the input.
//
//go:wasmexport binding
func binding(handle, use, class int32) int32 {
	return ofDocument(handle, func(s *session) ([]byte, error) {
		var b envelope.Binding
		if use == 0 {
			root, err := envelope.ParseRoot(input(envelope.RootSize))
			if err != nil {
				return nil, err
			}
			b = s.document.RootBinding(root)
		} else {
			b = s.document.KeyBinding(format.Use(small(use)), small(class), format.KeyID(input(format.KeyIDSize)))
		}
		return b.Append(out), nil
	})
}

// primary writes the id of the key that seals for a use and class.
//
//go:wasmexport primary
func primary(handle, use, class int32) int32 {
	return output(func() ([]byte, error) {
		s, err := sessionOf(handle)
		if err != nil {
			return nil, err
		}
		id, err := s.primary(format.Use(small(use)), classify.Class(small(class)))
		return wire.AppendBytes(out, id[:]), err
	})
}
