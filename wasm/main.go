//go:build js && wasm

// Command wasm is the browser's core: the package format, the classification rules and the decisions of package
// envelope, as synchronous WebAssembly exports over one fixed buffer. It handles names, headers and wrapped keys, but
// no payload and no usable key. Its caller, the shell, is web/src/core/core.ts.
//
// Exports take and return numbers. The shell writes an export's input to the first half of the buffer and reads its
// output from the second half. A negative result is an error: -1 minus the position of its code in codes.Core. An
// export never blocks, and returns the error "internal" instead of panicking.
package main

import (
	"unsafe"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// half is the size in bytes of each half of the buffer. A document, or a header with its place, fits in it.
const half = 256<<10 + 32<<10

var buffer [2 * half]byte

var in, out = buffer[:half:half], buffer[half:half]

// saltSpent is the result of planSeal when the writer's salt is used up and it must draw a new one.
const saltSpent = -1000

// ready tells the shell that the exports can be called.
//
//go:wasmimport coffer ready
func ready()

func main() {
	ready()
	select {}
}

// bufferAddress returns the address of the buffer in the module's memory.
//
//go:wasmexport buffer
func bufferAddress() uint32 { return uint32(uintptr(unsafe.Pointer(&buffer[0]))) }

// bufferSize returns the size of the buffer in bytes.
//
//go:wasmexport bufferSize
func bufferSize() int32 { return 2 * half }

// Exports pass their body as a function to returnNumber, returnBytes or withDocument, because a deferred call in each
// export would be a tenth of the core's own code. Functions with many callers are not inlined for the same reason.

// returnNumber returns the result of an export, or the result for its error.
//
//go:noinline
func returnNumber(export func() (int32, error)) (result int32) {
	defer guard(&result)
	n, err := export()
	if err != nil {
		return errorResult(err)
	}
	return n
}

// returnBytes returns the length of the bytes that an export appended to out, or the result for its error.
//
//go:noinline
func returnBytes(export func() ([]byte, error)) (result int32) {
	defer guard(&result)
	b, err := export()
	if err != nil {
		return errorResult(err)
	}
	if len(b) > 0 && &b[0] != &buffer[half] {
		return -1 // the output did not fit the buffer
	}
	return int32(len(b))
}

// guard turns a panic into the error "internal".
func guard(result *int32) {
	if recover() != nil {
		*result = -1
	}
}

// withDocument is returnBytes for an export that needs the document of a session.
//
//go:noinline
func withDocument(handle int32, export func(*session) ([]byte, error)) int32 {
	return returnBytes(func() ([]byte, error) {
		s, err := sessionOf(handle)
		if err == nil && s.document == nil {
			err = errNoSession
		}
		if err != nil {
			return nil, err
		}
		return export(s)
	})
}

// errorResult returns the result for an error. All errors of the core are sentinels, so it need not unwrap them.
func errorResult(err error) int32 {
	if e, ok := err.(interface{ Code() string }); ok {
		code := e.Code()
		for n := range codes.Core {
			if codes.Core[n] == code {
				return -int32(n) - 1
			}
		}
	}
	return -1
}

// input returns the first n bytes of the input, or nil if n is out of range.
//
//go:noinline
func input(n int32) []byte {
	if n < 0 || n > half {
		return nil
	}
	return in[:n]
}

// toUint8 converts v to a byte. It returns 255, which no field accepts, if v is out of range: truncation could make v a
// valid value.
//
//go:noinline
func toUint8(v int32) uint8 {
	if v < 0 || v > 255 {
		return 255
	}
	return uint8(v)
}

// toInt64 converts a time, size or count. It returns -1, which is invalid, for a negative number or NaN, and
// format.MaxRevision for a greater number.
func toInt64(v float64) int64 {
	if v >= 0 {
		return int64(min(v, format.MaxRevision))
	}
	return -1
}
