//go:build js && wasm

package main

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/wire"
)

// header checks that the input begins with a header and that body more bytes can follow it, and returns the
// header's length.
//
//go:wasmexport header
func header(n int32, body float64) int32 {
	return number(func() (int32, error) {
		h, size, err := format.ParseHeader(input(n))
		if err == nil {
			err = format.CheckBody(&h, int(whole(body))-size)
		}
		return int32(size), err
	})
}

// derivation decides whether the key of the package whose header is the input may be derived at all: by the format's
// bounds, and by the policy of its class.
//
//go:wasmexport derivation
func derivation(n int32) int32 {
	return number(func() (int32, error) {
		h, _, err := format.ParseHeader(input(n))
		if err == nil {
			err = envelope.CheckDerivation(&h)
		}
		if err == nil && h.Source == format.FromPassphrase {
			err = classify.Class(h.Class).CheckIterations(h.Iterations)
		}
		return 0, err
	})
}

// fixed is the length of the header's fields before the context.
const fixed = format.HeaderSize - 2

// compose writes the header whose fields are the input: its bytes up to the context, then the context's
// entries in any order.
//
//go:wasmexport compose
func compose(n int32) int32 {
	return output(func() ([]byte, error) {
		b := input(n)
		context, err := readContext(b[fixed:])
		if err != nil {
			return nil, err
		}
		h, _, err := format.ParseHeader(append(b[:fixed:fixed], 0, 0))
		if err != nil {
			return nil, err
		}
		h.Context = context
		return h.Append(out)
	})
}

// details writes what precedes the value in the plaintext. The input is the record's name, the media type, the file's
// name and the context.
//
//go:wasmexport details
func details(valueType, flags, element, n int32, lastModified float64) int32 {
	return output(func() ([]byte, error) {
		d := format.Details{LastModified: int64(lastModified), Element: format.Element(small(element))}
		rest := input(n)
		for _, field := range [...]*string{&d.Name, &d.MediaType, &d.FileName} {
			var err error
			if *field, rest, err = readText(rest); err != nil {
				return nil, err
			}
		}
		var err error
		if d.Context, err = readContext(rest); err != nil {
			return nil, err
		}
		h := format.Header{Type: format.ValueType(small(valueType)), Flags: format.Flags(small(flags))}
		return format.AppendDetails(out, &h, d)
	})
}

// cutDetails reads what precedes the value in a plaintext that begins with the input: it writes the number of bytes
// before the value (32 bits), the modification time (64 bits), the element type (8 bits) and the size of an element (8
// bits), the record's name, the media type, the file's name and the context.
//
//go:wasmexport cutDetails
func cutDetails(valueType, flags, n int32) int32 {
	return output(func() ([]byte, error) {
		h := format.Header{Type: format.ValueType(small(valueType)), Flags: format.Flags(small(flags))}
		d, rest, err := format.SplitDetails(&h, input(n))
		if err != nil {
			return nil, err
		}
		b := wire.AppendUint(out, uint64(int(n)-len(rest)), 4)
		b = wire.AppendUint(b, uint64(d.LastModified), 8)
		b = append(b, byte(d.Element), byte(d.Element.Size()))
		b = wire.AppendText(wire.AppendText(wire.AppendText(b, d.Name), d.MediaType), d.FileName)
		return d.Context.Append(b), nil
	})
}

// iterations returns what to write for a wish, at least classify's WriteFloor; an error over its Ceiling.
//
//go:wasmexport iterations
func iterations(wish float64) int32 {
	if wish > classify.MaxIterations {
		return failed(classify.ErrIterations)
	}
	return max(int32(wish), classify.MinWriteIterations)
}

// checkIterations decides whether a slot's derivation may be tried; slots are held to the class phi, the strictest.
//
//go:wasmexport checkIterations
func checkIterations(n float64) int32 {
	if n < 0 || n > classify.MaxIterations {
		return failed(classify.ErrIterations)
	}
	return number(func() (int32, error) { return 0, classify.PHI.CheckIterations(uint32(n)) })
}
