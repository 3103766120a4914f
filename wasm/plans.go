//go:build js && wasm

package main

import (
	"encoding/binary"
	"unsafe"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// openSingle begins a session of packages without a keyset; the input is the id of the one key.
//
//go:wasmexport openSingle
func openSingle(source int32, iterations float64) (result int32) {
	defer guard(&result)
	h := format.Header{Source: format.Source(small(source)), Iterations: uint32(whole(iterations)), KeyID: format.KeyID(input(format.KeyIDSize))}
	return open(&session{single: h})
}

// planSeal writes the additional data of a package to be sealed, which begins with the 16-bit length of its
// header and the header. The input is the salt, the place and the context. It is saltSpent when a new salt is
// due.
//
//go:wasmexport planSeal
func planSeal(handle, use, class, valueType, flags, n int32, now, size float64) (result int32) {
	defer guard(&result)
	s, err := sessionOf(handle)
	if err != nil {
		return failed(err)
	}
	b := input(n)
	h := s.single
	h.Source = max(h.Source, format.FromKeyset)
	h.Use, h.Class = format.Use(small(use)), small(class)
	h.Type, h.Flags = format.ValueType(small(valueType)), format.Flags(small(flags))
	h.Algorithm, h.EncryptedAt, h.Salt = envelope.Algorithm(classify.Class(h.Class), h.Flags), whole(now), format.Salt(b)
	if h.KeyID, err = s.primary(h.Use, classify.Class(h.Class)); err != nil {
		return failed(err)
	}
	value := whole(size)
	if value < 0 {
		return failed(format.ErrInvalid)
	}
	if value > format.MaxValue {
		return failed(format.ErrTooLarge)
	}
	place, rest, err := readPlace(b[format.SaltSize:])
	if err == nil {
		h.Context, err = readContext(rest)
	}
	if err == nil {
		err = h.Check()
	}
	if err != nil {
		return failed(err)
	}
	if !s.spend(&h, int(value)) {
		return saltSpent
	}
	return plan(&h, place)
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

func plan(h *format.Header, place format.Place) int32 {
	var scratch [format.HeaderSize + format.MaxContext]byte
	header, err := h.Append(scratch[:0])
	if err != nil {
		return failed(err)
	}
	return output(format.AppendAdditionalData(out, header, place))
}

// planOpen checks a package against its keys, its place and what the reader demands, and writes its
// additional data. The input is the header and the place; body is the length of the rest of the package.
//
//go:wasmexport planOpen
func planOpen(handle, use, least, n int32, body float64) (result int32) {
	defer guard(&result)
	s, err := sessionOf(handle)
	if err != nil {
		return failed(err)
	}
	b := input(n)
	h, size, err := format.ParseHeader(b)
	if err == nil {
		err = format.CheckBody(&h, int(whole(body)))
	}
	if err == nil {
		err = s.checkOpen(&h, envelope.Demand{Use: format.Use(small(use)), Least: classify.Class(small(least))})
	}
	if err != nil {
		return failed(err)
	}
	place, rest, err := readPlace(b[size:])
	if err != nil || len(rest) > 0 {
		return failed(format.ErrInvalid)
	}
	return output(format.AppendAdditionalData(out, b[:size], place))
}

func (s *session) checkOpen(h *format.Header, want envelope.Demand) error {
	if s.document == nil {
		return envelope.CheckSecret(h, s.single.KeyID, want)
	}
	return s.index.CheckOpen(h, want)
}

// readPlace takes a place off the input, in the encoding that additional data has.
func readPlace(b []byte) (p format.Place, rest []byte, err error) {
	if p.Owner, b, err = readText(b); err != nil {
		return p, nil, err
	}
	if p.Collection, b, err = readText(b); err != nil || len(b) == 0 {
		return p, nil, format.ErrInvalid
	}
	p.Named, b = b[0] == 1, b[1:]
	if p.Named {
		p.Name, b, err = readText(b)
	}
	return p, b, err
}

// readContext reads the entries of a context in any order.
func readContext(b []byte) (format.Context, error) {
	if len(b) == 0 {
		return format.Context{}, nil
	}
	m := map[string]string{}
	for len(b) > 0 {
		var key, value string
		var err error
		if key, b, err = readText(b); err == nil {
			value, b, err = readText(b)
		}
		if err != nil {
			return format.Context{}, err
		}
		if _, twice := m[key]; twice {
			return format.Context{}, format.ErrInvalid
		}
		m[key] = value
	}
	return format.NewContext(m)
}

// readText takes a text off the input. It aliases the input, so it must not be kept beyond the call.
func readText(b []byte) (text string, rest []byte, err error) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return "", nil, format.ErrInvalid
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return unsafe.String(&b[0], n)[2:], b[n:], nil
}
