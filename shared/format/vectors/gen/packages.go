package main

import (
	"fmt"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// grid returns a package of every combination of class, use and value type.
func grid(r *validDocuments) (list []vectors.Package) {
	for _, class := range classify.All {
		for use := format.UseStorage; use <= format.NumUses; use++ {
			for kind := format.Text; kind <= format.View; kind++ {
				b := newPackageBuilder(r.all, fmt.Sprintf("%v %v %v", class, use, kind), use, class)
				b.in.Header.EncryptedAt += int64(len(list)) * 1001
				if len(list)%2 == 0 {
					b.withContext(map[string]string{"patientId": "P12345", "field": kind.String()})
				}
				list = append(list, b.withName(fmt.Sprintf("record/%d", len(list))).withType(kind).vector())
			}
		}
	}
	return list
}

// withType sets a value of the given type.
func (b *packageBuilder) withType(kind format.ValueType) *packageBuilder {
	switch kind {
	case format.Text:
		return b.withValue(kind, []byte("Grüße, "+b.name))
	case format.JSON:
		return b.withValue(kind, []byte(`{"of":"`+b.name+`","list":[1,2.5,null,true]}`))
	case format.Blob:
		return b.withValue(kind, draw(33, b.name+"/value")).withDetails(vectors.Details{MediaType: "image/png"})
	case format.File:
		return b.withValue(kind, draw(33, b.name+"/value")).
			withDetails(vectors.Details{MediaType: "application/dicom", FileName: "scan-1.dcm", LastModified: startTime - 1})
	case format.View:
		return b.withValue(kind, draw(32, b.name+"/value")).withDetails(vectors.Details{Element: uint8(format.ElementFloat64)})
	default:
		return b.withValue(kind, draw(33, b.name+"/value"))
	}
}

// special returns packages at the limits, and packages with every other source, flag and algorithm.
func special(r *validDocuments) (list []vectors.Package) {
	example := newPackageBuilder(r.all, "worked example", format.UseService, classify.PHI).withValue(format.Text, []byte("123-45-6789")).
		withContext(map[string]string{"user_id": "user_123", "field": "ssn"}).withName("user:123:ssn")
	for _, group := range [][]*packageBuilder{
		{example}, values(r.all), places(r.all), contexts(r.all), fields(r.all), details(r.all), views(r.all), flags(r.all), paddedAndSealedNames(r.all), texts(r.all),
		sources(r.all), retiredKeyStates(r), chunks(r.all), largeValues(r.all),
	} {
		for _, b := range group {
			list = append(list, b.vector())
		}
	}
	return list
}

func values(r *documentBuilder) (list []*packageBuilder) {
	for kind := format.Text; kind <= format.View; kind++ {
		var empty []byte
		if kind == format.JSON {
			empty = []byte(`""`) // an empty text is not JSON
		}
		for _, class := range []classify.Class{classify.Public, classify.PHI} {
			b := newPackageBuilder(r, fmt.Sprintf("empty %v, %v", kind, class), format.UseStorage, class).withValue(kind, empty)
			if kind == format.View {
				b.withDetails(vectors.Details{Element: uint8(format.ElementDataView)})
			}
			list = append(list, b)
		}
	}
	pattern := make(vectors.Hex, 256)
	for i := range pattern {
		pattern[i] = byte(i)
	}
	for _, class := range []classify.Class{classify.Public, classify.PHI} {
		for _, n := range []int{65_537, 1 << 20} {
			b := newPackageBuilder(r, fmt.Sprintf("%d bytes, %v", n, class), format.UseStorage, class).withValue(format.Bytes, nil)
			b.value = vectors.Data{Repeat: pattern, Length: n}
			list = append(list, b)
		}
	}
	return list
}

func places(r *documentBuilder) (list []*packageBuilder) {
	add := func(name string) *packageBuilder {
		list = append(list, newPackageBuilder(r, name, format.UseStorage, classify.PII))
		return list[len(list)-1]
	}
	add("no name").place.Name = nil
	for name, text := range ordered(
		"empty name", "", "name, precomposed", "caf\u00e9", "name, combining", "cafe\u0301", "name, astral", "😀𝒳",
		"name, right to left", "\u05e9\u05dc\u05d5\u05dd \u202etxt", "name, replacement character", "\ufffd", "name, NUL", "a\x00b", "name, byte order mark", "\ufeffa",
		"name, prototype", "__proto__", "name, 1024 bytes", strings.Repeat("界", 341)+"x",
	) {
		add(name).withName(text)
	}
	for name, owner := range ordered("empty owner", "", "owner, 255 bytes", strings.Repeat("é", 127)+"x") {
		add(name).place.Owner = owner
	}
	for name, collection := range ordered("empty collection", "", "collection, 255 bytes", strings.Repeat("😀", 63)+"xyz") {
		add(name).place.Collection = collection
	}
	return list
}

// ordered iterates over pairs in their order.
func ordered(pairs ...string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(pairs[i], pairs[i+1]) {
				return
			}
		}
	}
}

func contexts(r *documentBuilder) (list []*packageBuilder) {
	add := func(name string, context map[string]string) {
		list = append(list, newPackageBuilder(r, name, format.UseService, classify.Confidential).withContext(context))
	}
	add("context, empty key and value", map[string]string{"": ""})
	add("context, sorted by UTF-8 and not by UTF-16", map[string]string{"\uff5e": "1", "😀": "2", "z": "3"})
	add("context, prefixes", map[string]string{"a": "1", "": "2", "ab": "3", "a\x00": "4"})
	add("context, digits", map[string]string{"10": "ten", "9": "nine", "-1": "minus"})
	add("context, prototype", map[string]string{"__proto__": "a", "constructor": "b", "toString": "c"})
	add("context, non-ASCII", map[string]string{"né": "ne\u0301", "ne\u0301": "né", "\u05e9\u05dd": "\u202e", "\ufffd": "\x00\u2028<&>\"\\/", "𝒳": "😀"})
	full := map[string]string{}
	for i := range format.MaxContextEntries {
		full[fmt.Sprintf("key %02d", i)] = strings.Repeat("v", i)
	}
	add("context, 64 entries", full)
	add("context, byte order marks", map[string]string{"\ufeffa": "\ufeffb", "\ufeff": "", "a": "\ufeff"})
	add("context, 16384 bytes", map[string]string{"k": strings.Repeat("é", (format.MaxContext-10)/2) + "x", "": ""})
	return list
}

func fields(r *documentBuilder) (list []*packageBuilder) {
	add := func(name string) *format.Header {
		list = append(list, newPackageBuilder(r, name, format.UseField, classify.Internal))
		return &list[len(list)-1].in.Header
	}
	add("time, first").EncryptedAt = 0
	add("time, last").EncryptedAt = format.MaxTime
	add("time, leap day").EncryptedAt = 1709164799999
	add("revision, 1").Revision = 1
	add("revision, last").Revision = format.MaxRevision
	shared := format.Salt(draw(format.SaltSize, "session"))
	add("one session, first").Salt = shared
	add("one session, second").Salt = shared
	return list
}

func details(r *documentBuilder) (list []*packageBuilder) {
	add := func(name string, kind format.ValueType, class classify.Class, d vectors.Details) {
		list = append(list, newPackageBuilder(r, name, format.UseFile, class).withValue(kind, []byte("x")).withDetails(d))
	}
	add("blob, empty media type", format.Blob, classify.PHI, vectors.Details{})
	add("blob, media type of 255 bytes", format.Blob, classify.PHI, vectors.Details{MediaType: "text/" + strings.Repeat("x", 250)})
	add("blob, media type, public", format.Blob, classify.Public, vectors.Details{MediaType: "text/plain;charset=utf-8"})
	add("file, nothing said", format.File, classify.PHI, vectors.Details{})
	add("file, non-ASCII name", format.File, classify.PHI, vectors.Details{FileName: "Bücher \u202e😀.pdf", LastModified: 1})
	add("file, name of 1024 bytes", format.File, classify.PHI, vectors.Details{FileName: strings.Repeat("n", 1024), LastModified: format.MaxTime})
	add("file, name with a byte order mark", format.File, classify.PHI, vectors.Details{FileName: "\ufeffb"})
	add("file, before 1970", format.File, classify.PHI, vectors.Details{FileName: "old", LastModified: -1})
	add("file, earliest, public", format.File, classify.Public, vectors.Details{FileName: "oldest", LastModified: -format.MaxTime})
	return list
}

// views returns a package for each element type.
func views(r *documentBuilder) (list []*packageBuilder) {
	for e := format.ElementDataView; e <= format.ElementFloat64; e++ {
		name := fmt.Sprintf("view, %v", e)
		value := draw(24, name+"/value")
		if e == format.ElementFloat16 || e == format.ElementFloat32 || e == format.ElementFloat64 {
			clear(value) // zeros, because some platforms change a signaling NaN
			value[e.Size()-1] = 0x40
		}
		list = append(list, newPackageBuilder(r, name, format.UseStorage, classify.PHI).withValue(format.View, value).withDetails(vectors.Details{Element: uint8(e)}))
	}
	return list
}

// texts returns packages of texts that a reader must not change.
func texts(r *documentBuilder) (list []*packageBuilder) {
	for name, text := range ordered(
		"text, byte order mark", "\ufeffa", "text, NUL and replacement character", "a\x00\ufffd", "text, combining", "cafe\u0301", "text, noncharacters", "\uffff\U0010ffff",
	) {
		list = append(list, newPackageBuilder(r, name, format.UseService, classify.PHI).withValue(format.Text, []byte(text)))
	}
	for name, text := range ordered(
		"JSON, string", `"\ufeff\u0000"`, "JSON, number", `-0.5e-3`, "JSON, null", `null`, "JSON, spaces", " \t\r\n[ 1 , {} ] \n", "JSON, __proto__", `{"__proto__":{"a":1}}`,
	) {
		list = append(list, newPackageBuilder(r, name, format.UseService, classify.PHI).withValue(format.JSON, []byte(text)))
	}
	return list
}

// paddedAndSealedNames returns packages with padding and sealed names, in every combination of flags.
func paddedAndSealedNames(r *documentBuilder) (list []*packageBuilder) {
	named := vectors.Details{Name: "Zoë, *1980-01-01", Context: map[string]string{"patientId": "P12345"}}
	for flags := format.Flags(0); flags < 16; flags++ {
		if flags&(format.Padded|format.SealedName) == 0 {
			continue
		}
		d, kind, value := named, format.Text, []byte("value")
		if flags&format.Tombstone != 0 {
			kind, value = format.Bytes, nil
		}
		if flags&format.SealedName == 0 {
			d.Name = ""
		}
		if flags&format.SealedContext == 0 {
			d.Context = nil
		}
		b := newPackageBuilder(r, fmt.Sprintf("flags %d", flags), format.UseStorage, classify.PHI).withFlags(flags).withValue(kind, value).withDetails(d)
		list = append(list, b.withName("blinded-"+b.name))
	}
	padded := func(name string, value []byte) *packageBuilder {
		list = append(list, newPackageBuilder(r, "padded, "+name, format.UseStorage, classify.Public).withFlags(format.Padded).withValue(format.Bytes, value))
		return list[len(list)-1]
	}
	padded("empty", nil)
	padded("ends like its padding", []byte{1, 0x80, 0, 0x80, 0, 0})
	padded("254 bytes", draw(254, "padded"))
	padded("255 bytes", draw(255, "padded"))
	padded("256 bytes", draw(256, "padded"))
	padded("1000 bytes", draw(1000, "padded"))
	padded("one byte of padding", []byte("value")).padded(1)
	padded("more than a writer adds", []byte("value")).padded(300)
	padded("view", make([]byte, 8)).withValue(format.View, make([]byte, 8)).withDetails(vectors.Details{Element: uint8(format.ElementFloat64)})
	file := vectors.Details{MediaType: "application/pdf", FileName: "report.pdf", LastModified: startTime, Name: strings.Repeat("é", 512)}
	list = append(list, newPackageBuilder(r, "sealed name of 1024 bytes, file", format.UseStorage, classify.PHI).
		withFlags(format.SealedName|format.Padded).withValue(format.File, []byte("%PDF")).withDetails(file))
	list = append(list, newPackageBuilder(r, "sealed name, empty", format.UseStorage, classify.Public).withFlags(format.SealedName).withDetails(vectors.Details{}))
	return list
}

// largeValues returns values below, at and above the limit of a package that is not chunked.
func largeValues(r *documentBuilder) []*packageBuilder {
	add := func(name string, class classify.Class, n int) *packageBuilder {
		b := newPackageBuilder(r, name, format.UseStorage, class).withValue(format.Bytes, nil)
		b.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: n}
		return b
	}
	return []*packageBuilder{
		add("64 MiB, phi", classify.PHI, format.MaxValue), add("64 MiB, public", classify.Public, format.MaxValue),
		add("chunked, 64 MiB and a byte", classify.PHI, format.MaxValue+1).chunked(),
	}
}

func flags(r *documentBuilder) (list []*packageBuilder) {
	sealed := vectors.Details{Context: map[string]string{"patientId": "P12345", "né": "😀"}}
	for _, class := range classify.All {
		list = append(list,
			newPackageBuilder(r, fmt.Sprintf("sealed context, %v", class), format.UseStorage, class).withFlags(format.SealedContext).withDetails(sealed),
			newPackageBuilder(r, fmt.Sprintf("tombstone, %v", class), format.UseStorage, class).withFlags(format.Tombstone).withValue(format.Bytes, nil),
		)
	}
	file := vectors.Details{Context: sealed.Context, MediaType: "application/pdf", FileName: "report.pdf", LastModified: startTime}
	return append(list,
		newPackageBuilder(r, "sealed context, byte order marks", format.UseStorage, classify.PHI).withFlags(format.SealedContext|format.SealedName).
			withDetails(vectors.Details{Context: map[string]string{"\ufeffa": "\ufeffb"}, Name: "\ufeffc"}),
		newPackageBuilder(r, "sealed context, empty", format.UseStorage, classify.PHI).withFlags(format.SealedContext).withDetails(vectors.Details{}),
		newPackageBuilder(r, "sealed context, file", format.UseStorage, classify.PHI).withFlags(format.SealedContext).withValue(format.File, []byte("%PDF")).withDetails(file),
		newPackageBuilder(r, "tombstone with a sealed context", format.UseStorage, classify.PHI).
			withFlags(format.Tombstone|format.SealedContext).withValue(format.Bytes, nil).withDetails(sealed),
		newPackageBuilder(r, "tombstone with a context", format.UseStorage, classify.PHI).withFlags(format.Tombstone).withValue(format.Bytes, nil).withContext(sealed.Context),
	)
}

func sources(r *documentBuilder) (list []*packageBuilder) {
	add := func(name string, class classify.Class) *packageBuilder {
		b := newPackageBuilder(r, name, format.UseService, class)
		b.place = vectors.Place{}
		list = append(list, b)
		return b
	}
	for _, class := range classify.All {
		add(fmt.Sprintf("passphrase at the floor, %v", class), class).passphrase("a passphrase", format.MinIterations)
		add(fmt.Sprintf("master key, %v", class), class).masterKey(draw(32, "the master key"))
	}
	add("passphrase, 600000 iterations", classify.PHI).passphrase("correct horse battery staple", classify.MinWriteIterations)
	add("passphrase, decomposed", classify.PHI).passphrase("Cafe\u0301 \u212b \u1e9b\u0323 😀", classify.PHI.Rules().MinReadIterations)
	add("passphrase, base64 of 31 bytes", classify.Internal).passphrase(strings.Repeat("A", 42)+"==", 100_000)
	add("passphrase, base64 with trailing bits", classify.Internal).passphrase(strings.Repeat("A", 42)+"B=", 100_000)
	b := add("master key, file with a context", classify.PHI).masterKey(draw(32, "the master key")).withContext(map[string]string{"k": "v"}).withType(format.File)
	b.place = vectors.Place{Owner: "tenant", Collection: "exports"}
	return list
}

// retiredKeyStates returns packages under keys that no longer seal but still open.
func retiredKeyStates(r *validDocuments) []*packageBuilder {
	s := r.states
	return []*packageBuilder{
		newPackageBuilder(s, "under the primary of five keys", format.UseService, classify.PHI),
		newPackageBuilder(s, "under an old key", format.UseService, classify.PHI).underKey(s, r.service.old),
		newPackageBuilder(s, "under a compromised key", format.UseService, classify.PHI).underKey(s, r.service.compromised),
		newPackageBuilder(s, "under a compromised primary", format.UseCache, classify.PII),
		newPackageBuilder(r.unicode, "non-ASCII owner", format.UseStorage, classify.PHI),
	}
}

func chunks(r *documentBuilder) (list []*packageBuilder) {
	for _, n := range []int{0, 1, 16_383, 16_384, 16_385, 40_000} {
		b := newPackageBuilder(r, fmt.Sprintf("chunked, %d bytes", n), format.UseFile, classify.PHI).withValue(format.Bytes, nil).chunked()
		if n > 0 {
			b.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: n}
		}
		list = append(list, b)
	}
	sealed := vectors.Details{Context: map[string]string{"patientId": "P12345"}, MediaType: "application/dicom", FileName: "scan.dcm", LastModified: startTime}
	three := newPackageBuilder(r, "chunked, three chunks", format.UseFile, classify.PHI).withValue(format.Bytes, nil).chunked()
	three.inFull = true // other vectors are made from its parts
	three.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: 2*plain.ChunkSize + 1}
	view := vectors.Details{Name: "name", Element: uint8(format.ElementInt16)}
	return append(list, three,
		newPackageBuilder(r, "chunked, passphrase", format.UseFile, classify.Internal).withType(format.Text).chunked().passphrase("a passphrase", format.MinIterations),
		newPackageBuilder(r, "chunked, master key", format.UseFile, classify.PII).withType(format.Text).chunked().masterKey(draw(32, "the master key")),
		newPackageBuilder(r, "chunked, public", format.UseFile, classify.Public).withType(format.Blob).chunked(),
		newPackageBuilder(r, "chunked, padded view with a sealed name", format.UseFile, classify.PHI).withFlags(format.Padded|format.SealedName).
			withValue(format.View, draw(6, "chunked view")).withDetails(view).chunked(),
		newPackageBuilder(r, "chunked, file", format.UseFile, classify.PHI).withType(format.File).chunked(),
		newPackageBuilder(r, "chunked, sealed context", format.UseFile, classify.PHI).withFlags(format.SealedContext).
			withValue(format.File, []byte("value")).withDetails(sealed).chunked(),
		newPackageBuilder(r, "chunked, internal, no name", format.UseStorage, classify.Internal).withType(format.Text).withContext(map[string]string{"a": "b"}).chunked(),
	)
}
