//go:build js && wasm

// Command wasm is the browser's core: the format, the classification rules and the envelope's decisions
// behind a handful of synchronous exports over one fixed buffer. It sees names, headers and wrapped keys;
// never a payload, never a usable key.
//
// Every export takes and returns integers. Bytes go in at the buffer's start and come out at its middle. A
// negative result is an error: its number in package codes' table, negated, less one. No export blocks, and
// none panics: what would, is the error "internal". The shell is web/src/core/core.ts.
package main

import (
	"unsafe"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// half is the size of the input and of the output part of the buffer: a document, or a header with its place.
const half = 256<<10 + 32<<10

var buffer [2 * half]byte

var in, out = buffer[:half:half], buffer[half:half]

// saltSpent is the result of planSeal when the writer's salt is used up and it must draw a new one.
const saltSpent = -1000

//go:wasmimport coffer ready
func ready()

func main() {
	ready()
	select {}
}

//go:wasmexport buffer
func bufferAddress() uint32 { return uint32(uintptr(unsafe.Pointer(&buffer[0]))) }

//go:wasmexport bufferSize
func bufferSize() int32 { return 2 * half }

// Functions with many callers are not inlined, so that the module stays small.

// The exports' bodies are functions for these three: a deferred call in each export would be a tenth of our own code.

// number returns the result of an export. Errors are their numbers.
//
//go:noinline
func number(export func() (int32, error)) (result int32) {
	defer guard(&result)
	n, err := export()
	if err != nil {
		return failed(err)
	}
	return n
}

// output leaves the bytes that an export appended to out for the shell to read, and returns their length.
//
//go:noinline
func output(export func() ([]byte, error)) (result int32) {
	defer guard(&result)
	b, err := export()
	if err != nil {
		return failed(err)
	}
	if len(b) > 0 && &b[0] != &buffer[half] {
		return -1 // it outgrew the buffer and was moved
	}
	return int32(len(b))
}

// guard turns a panic into the error "internal".
func guard(result *int32) {
	if recover() != nil {
		*result = -1
	}
}

// ofDocument is output for an export that needs the document of a session.
//
//go:noinline
func ofDocument(handle int32, export func(*session) ([]byte, error)) int32 {
	return output(func() ([]byte, error) {
		s, err := sessionOf(handle)
		if err == nil && s.document == nil {
			err = errHandle
		}
		if err != nil {
			return nil, err
		}
		return export(s)
	})
}

// failed turns an error into a result. The errors here are sentinels, so a plain assertion does what codes.Of does.
func failed(err error) int32 {
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

// input returns the first n bytes that the shell wrote; nothing for a length that cannot be.
//
//go:noinline
func input(n int32) []byte {
	if n < 0 || n > half {
		return nil
	}
	return in[:n]
}

// small takes a number that fits one byte; 255, which no field has, for any other: cutting it to 8 bits would
// make another valid one.
//
//go:noinline
func small(v int32) uint8 {
	if v < 0 || v > 255 {
		return 255
	}
	return uint8(v)
}

// whole takes a time, size or count; -1, which none is, for a negative number or NaN, and format.MaxRevision
// for a greater one.
func whole(v float64) int64 {
	if v >= 0 {
		return int64(min(v, format.MaxRevision))
	}
	return -1
}
