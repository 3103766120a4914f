//go:build js && wasm

package main

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/wire"
)

// openDocument parses a keyset document of n bytes and returns the handle of a new session. The session seals and opens
// nothing until openRoots is called.
//
//go:wasmexport openDocument
func openDocument(n int32) int32 {
	return returnNumber(func() (int32, error) {
		d, err := envelope.ParseDocument(input(n))
		if err != nil {
			return 0, err
		}
		return addDocumentSession(d, func(envelope.Root) bool { return false }), nil
	})
}

// openRoots makes the session use the records under some roots and no others. The input of n bytes contains the encoded
// roots that the shell opened.
//
//go:wasmexport openRoots
func openRoots(handle, n int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
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

// newDocument starts a session with an empty document and returns its handle. The input is the environment, then the owner.
//
//go:wasmexport newDocument
func newDocument(environment, owner int32) int32 {
	return returnNumber(func() (int32, error) {
		b := input(environment + owner)
		d := &envelope.Document{Environment: string(b[:environment]), Owner: string(b[environment:])}
		if d.Owner == "" {
			return 0, envelope.ErrInvalid
		}
		if err := d.Check(); err != nil {
			return 0, err
		}
		return addDocumentSession(d, func(envelope.Root) bool { return true }), nil
	})
}

// encodeDocument writes the encoded document.
//
//go:wasmexport encodeDocument
func encodeDocument(handle int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) { return s.document.Append(out) })
}

// addSlot adds the slot in the input. The shell signs it later.
//
//go:wasmexport addSlot
func addSlot(handle, n int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
		slot, err := envelope.ParseSlot(input(n))
		if err == nil {
			err = s.document.AddSlot(slot)
		}
		s.records = nil
		return nil, err
	})
}

// addKey adds a key and makes it the primary of its use and class. The input is its id, the encoded root and the wrapped
// bytes. The shell signs both records later.
//
//go:wasmexport addKey
func addKey(handle, use, class, n int32, createdAt float64) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
		b := input(n)
		wrapped := b[format.KeyIDSize+envelope.RootSize:]
		root, err := envelope.ParseRoot(b[format.KeyIDSize : format.KeyIDSize+envelope.RootSize])
		if err != nil {
			return nil, err
		}
		k := envelope.Key{ID: format.KeyID(b), State: envelope.Enabled, CreatedAt: toInt64(createdAt), Root: root, Wrapped: append([]byte(nil), wrapped...)}
		if err = s.document.AddKey(format.Use(toUint8(use)), classify.Class(toUint8(class)), k); err == nil {
			s.changed()
		}
		return nil, err
	})
}

// owner writes the document's owner.
//
//go:wasmexport owner
func owner(handle int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) { return append(out, s.document.Owner...), nil })
}

// environment writes the document's environment label.
//
//go:wasmexport environment
func environment(handle int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) { return append(out, s.document.Environment...), nil })
}

// slot writes the encoding of slot i. It writes nothing if i is past the last slot.
//
//go:wasmexport slot
func slot(handle, i int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
		if int(i) >= len(s.document.Slots) {
			return nil, nil
		}
		return s.document.Slots[i].Append(out), nil
	})
}

// key writes key i of all keysets: use, class, state, id, encoded root, 16-bit length and wrapped bytes. It writes nothing
// if i is past the last key.
//
//go:wasmexport key
func key(handle, i int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
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

// record writes record i: the length of its MAC in one byte, the MAC, the encoded root and the input of the MAC. The MAC is
// zero if the record is not signed. The root of a shred record is zero. It writes nothing if i is past the last record.
//
//go:wasmexport record
func record(handle, i int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
		records := s.readRecords()
		if int(i) >= len(records) {
			return nil, nil
		}
		r := &records[i]
		b := wire.AppendBytes(append(out, byte(len(r.MAC))), r.MAC)
		return wire.AppendBytes(r.Root.Append(b), r.Message), nil
	})
}

// sign sets the MAC of record i. The input is HMAC-SHA256 of the record's message, 32 bytes.
//
//go:wasmexport sign
func sign(handle, i int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
		records := s.readRecords()
		if int(i) >= len(records) {
			return nil, envelope.ErrInvalid
		}
		copy(records[i].MAC, input(envelope.MACSize))
		return nil, nil
	})
}

// checkDerivations checks that a password may be tried on the document's slots; see envelope.Document.CheckDerivations.
//
//go:wasmexport checkDerivations
func checkDerivations(handle int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) { return nil, s.document.CheckDerivations() })
}

// checkSlot checks that the key of slot i may be derived; see envelope.Slot.CheckIterations.
//
//go:wasmexport checkSlot
func checkSlot(handle, i int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) { return nil, s.document.Slots[i].CheckIterations() })
}

// binding writes the additional data of a wrapped key. The input is the id of the key. For use 0 it is an encoded root.
//
//go:wasmexport binding
func binding(handle, use, class int32) int32 {
	return withDocument(handle, func(s *session) ([]byte, error) {
		var b envelope.Binding
		if use == 0 {
			root, err := envelope.ParseRoot(input(envelope.RootSize))
			if err != nil {
				return nil, err
			}
			b = s.document.RootBinding(root)
		} else {
			b = s.document.KeyBinding(format.Use(toUint8(use)), toUint8(class), format.KeyID(input(format.KeyIDSize)))
		}
		return b.Append(out), nil
	})
}

// primary writes the id of the key that seals for a use and class.
//
//go:wasmexport primary
func primary(handle, use, class int32) int32 {
	return returnBytes(func() ([]byte, error) {
		s, err := sessionOf(handle)
		if err != nil {
			return nil, err
		}
		id, err := s.primary(format.Use(toUint8(use)), classify.Class(toUint8(class)))
		return wire.AppendBytes(out, id[:]), err
	})
}
