//go:build js && wasm

package main

import (
	"unsafe"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// openSingle starts a session for packages of a passphrase or master key. The input is the id of its key. It returns the
// session's handle.
//
//go:wasmexport openSingle
func openSingle(source int32, iterations float64) int32 {
	return returnNumber(func() (int32, error) {
		key := single{format.Source(toUint8(source)), uint32(toInt64(iterations)), format.KeyID(input(format.KeyIDSize))}
		return addSession(&session{single: key}), nil
	})
}

// planSeal writes the additional data of a package that the shell is about to seal. It begins with the 16-bit length of
// the header and the header. The input is the salt, the place and the context. It returns saltSpent if the shell must
// draw a new salt first.
//
//go:wasmexport planSeal
func planSeal(handle, use, class, valueType, flags, n int32, now, size float64) int32 {
	spent := false
	result := returnBytes(func() (b []byte, err error) {
		s, err := sessionOf(handle)
		if err != nil {
			return nil, err
		}
		b = input(n)
		h := format.Header{Source: max(s.single.source, format.FromKeyset), Iterations: s.single.iterations}
		h.Use, h.Class = format.Use(toUint8(use)), toUint8(class)
		h.Type, h.Flags = format.ValueType(toUint8(valueType)), format.Flags(toUint8(flags))
		h.Algorithm, h.EncryptedAt, h.Salt = envelope.Algorithm(classify.Class(h.Class), h.Flags), toInt64(now), format.Salt(b)
		if h.KeyID, err = s.primary(h.Use, classify.Class(h.Class)); err != nil {
			return nil, err
		}
		value := toInt64(size)
		if value < 0 {
			return nil, format.ErrInvalid
		}
		if value > format.MaxValue {
			return nil, format.ErrTooLarge
		}
		var place format.Place
		if b, err = readPlace(b[format.SaltSize:], &place); err == nil {
			h.Context, err = readContext(b)
		}
		if err == nil {
			err = h.Check()
		}
		if err != nil {
			return nil, err
		}
		if spent = !s.spend(&h, int(value)); spent {
			return nil, nil
		}
		// Write the header to its position in the additional data.
		header, err := h.Append(out[2:2])
		if err != nil {
			return nil, err
		}
		return format.AppendAdditionalData(out, header, place)
	})
	if spent {
		return saltSpent
	}
	return result
}

// spend counts a package of size bytes against the budget of the writer's salt and reports whether it may be sealed.
// Without a keyset one key seals packages of every use and class, so they share one budget.
func (s *session) spend(h *format.Header, size int) bool {
	w := &s.writers[h.Use][h.Class]
	if s.document == nil {
		w = &s.writers[0][0]
	}
	if w.budget == nil || w.salt != h.Salt {
		*w = writer{h.Salt, new(envelope.Budget)}
	}
	return w.budget.Spend(size)
}

// planOpen checks a package against the session's keys and the reader's policy, and writes its additional data. The input
// is the header and the place. body is the length of the package's body.
//
//go:wasmexport planOpen
func planOpen(handle, use, minClass, n int32, body float64) int32 {
	return returnBytes(func() ([]byte, error) {
		s, err := sessionOf(handle)
		if err != nil {
			return nil, err
		}
		b := input(n)
		h, size, err := format.ParseHeader(b)
		if err == nil {
			err = format.CheckBody(&h, int(toInt64(body)))
		}
		if err == nil {
			err = s.checkOpen(&h, envelope.OpenPolicy{Use: format.Use(toUint8(use)), MinClass: classify.Class(toUint8(minClass))})
		}
		if err != nil {
			return nil, err
		}
		var place format.Place
		if rest, err := readPlace(b[size:], &place); err != nil || len(rest) > 0 {
			return nil, format.ErrInvalid
		}
		return format.AppendAdditionalData(out, b[:size], place)
	})
}

func (s *session) checkOpen(h *format.Header, policy envelope.OpenPolicy) error {
	if s.document == nil {
		return envelope.CheckSecret(h, s.single.keyID, policy)
	}
	return s.index.CheckOpen(h, policy)
}

// readPlace splits b after the place at its start, which is encoded as in additional data.
func readPlace(b []byte, p *format.Place) (rest []byte, err error) {
	if p.Owner, b, err = readText(b); err != nil {
		return nil, err
	}
	if p.Collection, b, err = readText(b); err != nil || len(b) == 0 {
		return nil, format.ErrInvalid
	}
	p.Named, b = b[0] == 1, b[1:]
	if p.Named {
		p.Name, b, err = readText(b)
	}
	return b, err
}

// readContext reads the entries of a context in any order.
func readContext(b []byte) (c format.Context, err error) {
	var pairs []string
	for len(b) > 0 || len(pairs)%2 > 0 {
		if len(pairs) == 2*format.MaxContextEntries {
			return c, format.ErrTooLarge
		}
		var text string
		if text, b, err = readText(b); err != nil {
			return c, err
		}
		pairs = append(pairs, text)
	}
	return format.NewContextFromPairs(pairs...)
}

// readText splits b after the text at its start. The text aliases the input, so it is valid only during the export's call.
//
//go:noinline
func readText(b []byte) (text string, rest []byte, err error) {
	if len(b) >= 2 {
		if n := 2 + int(b[0])<<8 + int(b[1]); n <= len(b) {
			return unsafe.String(&b[0], n)[2:], b[n:], nil
		}
	}
	return "", nil, format.ErrInvalid
}
