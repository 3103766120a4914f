//go:build js && wasm

package main

import (
	"unsafe"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// openSingle begins a session of packages without a keyset; the input is the id of the one key.
//
//go:wasmexport openSingle
func openSingle(source int32, iterations float64) int32 {
	return number(func() (int32, error) {
		key := single{format.Source(small(source)), uint32(whole(iterations)), format.KeyID(input(format.KeyIDSize))}
		return open(&session{single: key}), nil
	})
}

// planSeal writes the additional data of a package to be sealed, which begins with the 16-bit length of its
// header and the header. The input is the salt, the place and the context. It is saltSpent when a new salt is
// due.
//
//go:wasmexport planSeal
func planSeal(handle, use, class, valueType, flags, n int32, now, size float64) int32 {
	spent := false
	result := output(func() (b []byte, err error) {
		s, err := sessionOf(handle)
		if err != nil {
			return nil, err
		}
		b = input(n)
		h := format.Header{Source: max(s.single.source, format.FromKeyset), Iterations: s.single.iterations}
		h.Use, h.Class = format.Use(small(use)), small(class)
		h.Type, h.Flags = format.ValueType(small(valueType)), format.Flags(small(flags))
		h.Algorithm, h.EncryptedAt, h.Salt = envelope.Algorithm(classify.Class(h.Class), h.Flags), whole(now), format.Salt(b)
		if h.KeyID, err = s.primary(h.Use, classify.Class(h.Class)); err != nil {
			return nil, err
		}
		value := whole(size)
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
		// The header is made in its place of the output.
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

// spend counts the package against the budget of the writer's salt. Without a keyset one key serves every
// class, so its packages are counted together.
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

// planOpen checks a package against its keys, its place and what the reader demands, and writes its
// additional data. The input is the header and the place; body is the length of the rest of the package.
//
//go:wasmexport planOpen
func planOpen(handle, use, least, n int32, body float64) int32 {
	return output(func() ([]byte, error) {
		s, err := sessionOf(handle)
		if err != nil {
			return nil, err
		}
		b := input(n)
		h, size, err := format.ParseHeader(b)
		if err == nil {
			err = format.CheckBody(&h, int(whole(body)))
		}
		if err == nil {
			err = s.checkOpen(&h, envelope.OpenPolicy{Use: format.Use(small(use)), MinClass: classify.Class(small(least))})
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

// readPlace takes a place off the input, in the encoding that additional data has.
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

// readText takes a text off the input. It aliases the input, so it must not be kept beyond the call.
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
