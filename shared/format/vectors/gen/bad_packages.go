package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// Offsets of fields in a header.
const (
	atVersion, atAlgorithm, atUse, atFlags, atSource, atClass, atType = 3, 4, 5, 6, 7, 8, 9
	atKeyID, atSalt, atTime, atRevision, atIterations, atContext      = 10, 42, 58, 66, 74, 78
)

// malformedList collects malformed packages, which are made by damaging base.
type malformedList struct {
	base []byte
	list []vectors.Malformed
}

func refusedBytes() []vectors.Malformed {
	r := newDocumentBuilder("malformed", "test", "tenant")
	r.key(format.UseService, classify.PHI, r.root(""), "")
	base := newPackageBuilder(r, "malformed base", format.UseService, classify.PHI)
	m := &malformedList{base: base.withContext(map[string]string{"a": "1", "b": "2"}).bytes()}
	m.versions()
	m.ranges()
	m.rules()
	m.contexts()
	m.bodies()
	for n := range len(m.base) - len("value of malformed base") {
		m.add(fmt.Sprintf("cut to %d bytes", n), m.base[:n])
	}
	return m.list
}

func (m *malformedList) add(name string, b []byte) {
	m.list = append(m.list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: b}, Code: format.ErrMalformed.Code()})
}

// edit returns base with the bytes at an offset replaced.
func (m *malformedList) edit(at int, with ...byte) []byte {
	b := slices.Clone(m.base)
	copy(b[at:], with)
	return b
}

func (m *malformedList) versions() {
	for i := range 3 {
		m.add(fmt.Sprintf("magic byte %d", i), m.edit(i, m.base[i]^0x20))
	}
	for _, v := range []byte{0, 2, 255} {
		m.add(fmt.Sprintf("version %d", v), m.edit(atVersion, v))
		m.list[len(m.list)-1].Code = format.ErrUnsupportedVersion.Code()
	}
	m.add("version 2, no more", []byte("CFR\x02"))
	m.list[len(m.list)-1].Code = format.ErrUnsupportedVersion.Code()
	m.add("a keyset document", []byte("CFK\x01"))
}

func (m *malformedList) ranges() {
	for _, field := range []struct {
		name string
		at   int
		bad  []byte
	}{
		{"algorithm", atAlgorithm, []byte{0, 4, 255}},
		{"use", atUse, []byte{0, 6, 255}},
		{"flags", atFlags, []byte{0x10, 0x20, 0x40, 0x80, 255}},
		{"source", atSource, []byte{0, 4, 255}},
		{"class", atClass, []byte{0, 6, 255}},
		{"type", atType, []byte{0, 8, 255}},
	} {
		for _, v := range field.bad {
			m.add(fmt.Sprintf("%s %d", field.name, v), m.edit(field.at, v))
		}
	}
	m.add("time after 9999", m.edit(atTime, binary.BigEndian.AppendUint64(nil, format.MaxTime+1)...))
	m.add("time before 1970", m.edit(atTime, 0xFF))
	m.add("revision 2^53", m.edit(atRevision, binary.BigEndian.AppendUint64(nil, format.MaxRevision+1)...))
}

func (m *malformedList) rules() {
	m.add("iterations of a keyset's package", m.edit(atIterations, 0, 9, 0x27, 0xC0))
	m.add("iterations of a master key's package", setAll(m.base, map[int]byte{atSource: 3, atIterations + 3: 1}))
	m.add("no iterations of a passphrase's package", m.edit(atSource, byte(format.FromPassphrase)))
	m.add("public algorithm, class phi", m.edit(atAlgorithm, byte(format.Public)))
	m.add("public algorithm, sealed context", setAll(m.bare(), map[int]byte{atAlgorithm: 2, atClass: 1, atFlags: 2}))
	m.add("public algorithm, tombstone", setAll(m.bare(), map[int]byte{atAlgorithm: 2, atClass: 1, atFlags: 1, atType: 2}))
	m.add("public algorithm, padded", setAll(m.bare(), map[int]byte{atAlgorithm: 2, atClass: 1, atFlags: 4}))
	m.add("public algorithm, sealed name", setAll(m.bare(), map[int]byte{atAlgorithm: 2, atClass: 1, atFlags: 8}))
	m.add("sealed context and a context", m.edit(atFlags, byte(format.SealedContext)))
	m.add("tombstone of type text", setAll(m.bare(), map[int]byte{atFlags: 1}))
	m.add("tombstone of type text, no value", setAll(m.bare(), map[int]byte{atFlags: 1})[:format.HeaderSize+28])
	m.add("tombstone with a value", setAll(m.bare(), map[int]byte{atFlags: 1, atType: 2}))
	m.add("tombstone, chunked", append(setAll(m.bare(), map[int]byte{atAlgorithm: 3, atFlags: 1, atType: 2}), make([]byte, 72)...))
}

// setAll returns b with the bytes at the given offsets replaced.
func setAll(b []byte, bytes map[int]byte) []byte {
	b = slices.Clone(b)
	for at, v := range bytes {
		b[at] = v
	}
	return b
}

// header returns the header of base up to the length of the context.
func (m *malformedList) header() []byte { return slices.Clone(m.base[:atContext]) }

// bare returns base without its context.
func (m *malformedList) bare() []byte { return m.context(nil) }

// context returns base with raw as its encoded context.
func (m *malformedList) context(raw []byte) []byte {
	b := binary.BigEndian.AppendUint16(m.header(), uint16(len(raw)))
	return slices.Concat(b, raw, m.base[format.HeaderSize+12:])
}

// entries encodes a context without sorting or checking it.
func entries(pairs ...string) (b []byte) {
	for _, s := range pairs {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}

func (m *malformedList) contexts() {
	m.add("context longer than the package", m.edit(atContext, 0xFF, 0xFF))
	m.add("context one byte short", m.edit(atContext, 0, 11))
	m.add("context one byte long", m.edit(atContext, 0, 13))
	m.add("context key longer than the context", m.context([]byte{0, 9, 'a', 0, 1, '1'}))
	m.add("context value longer than the context", m.context([]byte{0, 1, 'a', 0, 2, '1'}))
	m.add("context key without a value", m.context(entries("a")))
	m.add("context of one byte", m.context([]byte{0}))
	m.add("context unsorted", m.context(entries("b", "1", "a", "2")))
	m.add("context sorted by UTF-16", m.context(entries("😀", "1", "\uff5e", "2")))
	m.add("context with a key twice", m.context(entries("a", "1", "a", "1")))
	m.add("context with the empty key twice", m.context(entries("", "1", "", "2")))
	for name, text := range ordered("lone byte", "\xff", "surrogate", "\xed\xa0\x80", "overlong", "\xc0\x80", "cut", "\xf0\x9f\x98", "above 10FFFF", "\xf4\x90\x80\x80") {
		m.add("context key, not UTF-8: "+name, m.context(entries(text, "1")))
		m.add("context value, not UTF-8: "+name, m.context(entries("a", text)))
	}
	var many []string
	for i := range format.MaxContextEntries + 1 {
		many = append(many, fmt.Sprintf("%02d", i), "")
	}
	m.add("context of 65 entries", m.context(entries(many...)))
	m.add("context of 16385 bytes", m.context(entries("k", strings.Repeat("v", format.MaxContext-4))))
}

func (m *malformedList) bodies() {
	header := m.bare()[:format.HeaderSize]
	m.add("empty body", header)
	m.add("body of 27 bytes", append(slices.Clone(header), make([]byte, 27)...))
	chunked := setAll(header, map[int]byte{atAlgorithm: byte(format.Chunked)})
	const sealedChunk = 16<<10 + format.TagSize
	for _, n := range []int{0, 24, 56, 71, 56 + sealedChunk, 56 + sealedChunk + 15, 56 + 2*sealedChunk} {
		m.list = append(m.list, vectors.Malformed{
			Name: fmt.Sprintf("chunked body of %d bytes", n), Code: format.ErrMalformed.Code(),
			Bytes: vectors.Data{Hex: chunked, Repeat: vectors.Hex{0}, Length: len(chunked) + n},
		})
	}
	for _, algorithm := range []byte{0, 4} { // a reader must not handle it as a chunked package
		m.add(fmt.Sprintf("chunked body of algorithm %d", algorithm), append(setAll(header, map[int]byte{atAlgorithm: algorithm}), make([]byte, 72)...))
	}
	m.list = append(m.list, vectors.Malformed{
		Name: "one-piece body over the limit", Code: format.ErrTooLarge.Code(),
		Bytes: vectors.Data{Hex: header, Repeat: vectors.Hex{0}, Length: len(header) + 12 + 16 + format.MaxValue + format.MaxDetails + 1},
	})
}
