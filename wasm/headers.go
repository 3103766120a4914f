//go:build js && wasm

package main

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/wire"
)

// checkHeader checks that the input begins with a header and that a package of size total can have that header. It
// returns the header's length.
//
//go:wasmexport checkHeader
func checkHeader(n int32, total float64) int32 {
	return returnNumber(func() (int32, error) {
		h, size, err := format.ParseHeader(input(n))
		if err == nil {
			err = format.CheckBody(&h, int(toInt64(total))-size)
		}
		return int32(size), err
	})
}

// checkDerivation checks the iterations of the header in the input against the bounds of the format and of its class. The
// shell must not derive the key of a package that it refuses.
//
//go:wasmexport checkDerivation
func checkDerivation(n int32) int32 {
	return returnNumber(func() (int32, error) {
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

// fixedSize is the length in bytes of the header's fields before the context.
const fixedSize = format.HeaderSize - 2

// encodeHeader writes a header. The input is the header's bytes before the context, then the context's entries in any
// order.
//
//go:wasmexport encodeHeader
func encodeHeader(n int32) int32 {
	return returnBytes(func() ([]byte, error) {
		b := input(n)
		context, err := readContext(b[fixedSize:])
		if err != nil {
			return nil, err
		}
		h, _, err := format.ParseHeader(append(b[:fixedSize:fixedSize], 0, 0))
		if err != nil {
			return nil, err
		}
		h.Context = context
		return h.Append(out)
	})
}

// encodeDetails writes the details that precede the value in a plaintext. The input is the record's name, the media type,
// the file's name and the context.
//
//go:wasmexport encodeDetails
func encodeDetails(valueType, flags, element, n int32, lastModified float64) int32 {
	return returnBytes(func() ([]byte, error) {
		d := format.Details{LastModified: int64(lastModified), Element: format.Element(toUint8(element))}
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
		h := format.Header{Type: format.ValueType(toUint8(valueType)), Flags: format.Flags(toUint8(flags))}
		return format.AppendDetails(out, &h, d)
	})
}

// splitDetails reads the details from the input, which is the start of a plaintext. It writes the number of bytes before
// the value (32 bits), the modification time (64 bits), the element type (8 bits), the size of an element (8 bits), the
// record's name, the media type, the file's name and the context.
//
//go:wasmexport splitDetails
func splitDetails(valueType, flags, n int32) int32 {
	return returnBytes(func() ([]byte, error) {
		h := format.Header{Type: format.ValueType(toUint8(valueType)), Flags: format.Flags(toUint8(flags))}
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

// writeIterations returns the iterations that a writer uses if the program asks for wish: at least
// classify.MinWriteIterations. It returns an error for more than classify.MaxIterations.
//
//go:wasmexport writeIterations
func writeIterations(wish float64) int32 {
	if wish > classify.MaxIterations {
		return errorResult(classify.ErrIterations)
	}
	return max(int32(wish), classify.MinWriteIterations)
}

// checkIterations checks the iterations of a slot against the bounds of class phi, the strictest class.
//
//go:wasmexport checkIterations
func checkIterations(n float64) int32 {
	if n < 0 || n > classify.MaxIterations {
		return errorResult(classify.ErrIterations)
	}
	return returnNumber(func() (int32, error) { return 0, classify.PHI.CheckIterations(uint32(n)) })
}
