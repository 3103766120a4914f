package main

import (
	"fmt"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// grid is a package of every class, use and value type.
func grid(r *rings) (list []vectors.Package) {
	for _, class := range classify.All {
		for use := format.UseStorage; use <= format.NumUses; use++ {
			for kind := format.Text; kind <= format.View; kind++ {
				b := begin(r.all, fmt.Sprintf("%v %v %v", class, use, kind), use, class)
				b.in.Header.EncryptedAt += int64(len(list)) * 1001
				if len(list)%2 == 0 {
					b.with(map[string]string{"patientId": "P12345", "field": kind.String()})
				}
				list = append(list, b.named(fmt.Sprintf("record/%d", len(list))).ofType(kind).vector())
			}
		}
	}
	return list
}

// ofType gives the builder a value of a type.
func (b *builder) ofType(kind format.ValueType) *builder {
	switch kind {
	case format.Text:
		return b.typed(kind, []byte("Grüße, "+b.name))
	case format.JSON:
		return b.typed(kind, []byte(`{"of":"`+b.name+`","list":[1,2.5,null,true]}`))
	case format.Blob:
		return b.typed(kind, draw(33, b.name+"/value")).describe(vectors.Details{MediaType: "image/png"})
	case format.File:
		return b.typed(kind, draw(33, b.name+"/value")).
			describe(vectors.Details{MediaType: "application/dicom", FileName: "scan-1.dcm", LastModified: t0 - 1})
	case format.View:
		return b.typed(kind, draw(32, b.name+"/value")).describe(vectors.Details{Element: uint8(format.ElementFloat64)})
	default:
		return b.typed(kind, draw(33, b.name+"/value"))
	}
}

// special is packages at the limits and of every other source, flag and algorithm.
func special(r *rings) (list []vectors.Package) {
	example := begin(r.all, "worked example", format.UseService, classify.PHI).typed(format.Text, []byte("123-45-6789")).
		with(map[string]string{"user_id": "user_123", "field": "ssn"}).named("user:123:ssn")
	for _, group := range [][]*builder{
		{example}, values(r.all), places(r.all), contexts(r.all), fields(r.all), details(r.all), views(r.all), flags(r.all), hidden(r.all), texts(r.all),
		sources(r.all), states(r), chunks(r.all), large(r.all),
	} {
		for _, b := range group {
			list = append(list, b.vector())
		}
	}
	return list
}

func values(r *ring) (list []*builder) {
	for kind := format.Text; kind <= format.View; kind++ {
		var empty []byte
		if kind == format.JSON {
			empty = []byte(`""`) // nothing at all is no JSON
		}
		for _, class := range []classify.Class{classify.Public, classify.PHI} {
			b := begin(r, fmt.Sprintf("empty %v, %v", kind, class), format.UseStorage, class).typed(kind, empty)
			if kind == format.View {
				b.describe(vectors.Details{Element: uint8(format.ElementDataView)})
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
			b := begin(r, fmt.Sprintf("%d bytes, %v", n, class), format.UseStorage, class).typed(format.Bytes, nil)
			b.value = vectors.Data{Repeat: pattern, Length: n}
			list = append(list, b)
		}
	}
	return list
}

func places(r *ring) (list []*builder) {
	add := func(name string) *builder {
		list = append(list, begin(r, name, format.UseStorage, classify.PII))
		return list[len(list)-1]
	}
	add("no name").place.Name = nil
	for name, text := range ordered(
		"empty name", "", "name, precomposed", "caf\u00e9", "name, combining", "cafe\u0301", "name, astral", "😀𝒳",
		"name, right to left", "\u05e9\u05dc\u05d5\u05dd \u202etxt", "name, replacement character", "\ufffd", "name, NUL", "a\x00b", "name, byte order mark", "\ufeffa",
		"name, prototype", "__proto__", "name, 1024 bytes", strings.Repeat("界", 341)+"x",
	) {
		add(name).named(text)
	}
	for name, owner := range ordered("empty owner", "", "owner, 255 bytes", strings.Repeat("é", 127)+"x") {
		add(name).place.Owner = owner
	}
	for name, collection := range ordered("empty collection", "", "collection, 255 bytes", strings.Repeat("😀", 63)+"xyz") {
		add(name).place.Collection = collection
	}
	return list
}

// ordered iterates over pairs.
func ordered(pairs ...string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(pairs[i], pairs[i+1]) {
				return
			}
		}
	}
}

func contexts(r *ring) (list []*builder) {
	add := func(name string, context map[string]string) {
		list = append(list, begin(r, name, format.UseService, classify.Confidential).with(context))
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

func fields(r *ring) (list []*builder) {
	add := func(name string) *format.Header {
		list = append(list, begin(r, name, format.UseField, classify.Internal))
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

func details(r *ring) (list []*builder) {
	add := func(name string, kind format.ValueType, class classify.Class, d vectors.Details) {
		list = append(list, begin(r, name, format.UseFile, class).typed(kind, []byte("x")).describe(d))
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

// views is an array of each element type.
func views(r *ring) (list []*builder) {
	for e := format.ElementDataView; e <= format.ElementFloat64; e++ {
		name := fmt.Sprintf("view, %v", e)
		value := draw(24, name+"/value")
		if e == format.ElementFloat16 || e == format.ElementFloat32 || e == format.ElementFloat64 {
			clear(value) // whatever a platform makes of a signaling NaN, it keeps these
			value[e.Size()-1] = 0x40
		}
		list = append(list, begin(r, name, format.UseStorage, classify.PHI).typed(format.View, value).describe(vectors.Details{Element: uint8(e)}))
	}
	return list
}

// texts is texts that a reader must not change.
func texts(r *ring) (list []*builder) {
	for name, text := range ordered(
		"text, byte order mark", "\ufeffa", "text, NUL and replacement character", "a\x00\ufffd", "text, combining", "cafe\u0301", "text, noncharacters", "\uffff\U0010ffff",
	) {
		list = append(list, begin(r, name, format.UseService, classify.PHI).typed(format.Text, []byte(text)))
	}
	for name, text := range ordered(
		"JSON, string", `"\ufeff\u0000"`, "JSON, number", `-0.5e-3`, "JSON, null", `null`, "JSON, spaces", " \t\r\n[ 1 , {} ] \n", "JSON, __proto__", `{"__proto__":{"a":1}}`,
	) {
		list = append(list, begin(r, name, format.UseService, classify.PHI).typed(format.JSON, []byte(text)))
	}
	return list
}

// hidden is packages with padding and sealed names, in every combination of flags.
func hidden(r *ring) (list []*builder) {
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
		b := begin(r, fmt.Sprintf("flags %d", flags), format.UseStorage, classify.PHI).flag(flags).typed(kind, value).describe(d)
		list = append(list, b.named("blinded-"+b.name))
	}
	padded := func(name string, value []byte) *builder {
		list = append(list, begin(r, "padded, "+name, format.UseStorage, classify.Public).flag(format.Padded).typed(format.Bytes, value))
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
	padded("view", make([]byte, 8)).typed(format.View, make([]byte, 8)).describe(vectors.Details{Element: uint8(format.ElementFloat64)})
	file := vectors.Details{MediaType: "application/pdf", FileName: "report.pdf", LastModified: t0, Name: strings.Repeat("é", 512)}
	list = append(list, begin(r, "sealed name of 1024 bytes, file", format.UseStorage, classify.PHI).
		flag(format.SealedName|format.Padded).typed(format.File, []byte("%PDF")).describe(file))
	list = append(list, begin(r, "sealed name, empty", format.UseStorage, classify.Public).flag(format.SealedName).describe(vectors.Details{}))
	return list
}

// large is values about the limit of one piece.
func large(r *ring) []*builder {
	add := func(name string, class classify.Class, n int) *builder {
		b := begin(r, name, format.UseStorage, class).typed(format.Bytes, nil)
		b.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: n}
		return b
	}
	return []*builder{
		add("64 MiB, phi", classify.PHI, format.MaxValue), add("64 MiB, public", classify.Public, format.MaxValue),
		add("chunked, 64 MiB and a byte", classify.PHI, format.MaxValue+1).chunked(),
	}
}

func flags(r *ring) (list []*builder) {
	sealed := vectors.Details{Context: map[string]string{"patientId": "P12345", "né": "😀"}}
	for _, class := range classify.All {
		list = append(list,
			begin(r, fmt.Sprintf("sealed context, %v", class), format.UseStorage, class).flag(format.SealedContext).describe(sealed),
			begin(r, fmt.Sprintf("tombstone, %v", class), format.UseStorage, class).flag(format.Tombstone).typed(format.Bytes, nil),
		)
	}
	file := vectors.Details{Context: sealed.Context, MediaType: "application/pdf", FileName: "report.pdf", LastModified: t0}
	return append(list,
		begin(r, "sealed context, byte order marks", format.UseStorage, classify.PHI).flag(format.SealedContext|format.SealedName).
			describe(vectors.Details{Context: map[string]string{"\ufeffa": "\ufeffb"}, Name: "\ufeffc"}),
		begin(r, "sealed context, empty", format.UseStorage, classify.PHI).flag(format.SealedContext).describe(vectors.Details{}),
		begin(r, "sealed context, file", format.UseStorage, classify.PHI).flag(format.SealedContext).typed(format.File, []byte("%PDF")).describe(file),
		begin(r, "tombstone with a sealed context", format.UseStorage, classify.PHI).
			flag(format.Tombstone|format.SealedContext).typed(format.Bytes, nil).describe(sealed),
		begin(r, "tombstone with a context", format.UseStorage, classify.PHI).flag(format.Tombstone).typed(format.Bytes, nil).with(sealed.Context),
	)
}

func sources(r *ring) (list []*builder) {
	add := func(name string, class classify.Class) *builder {
		b := begin(r, name, format.UseService, class)
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
	b := add("master key, file with a context", classify.PHI).masterKey(draw(32, "the master key")).with(map[string]string{"k": "v"}).ofType(format.File)
	b.place = vectors.Place{Owner: "tenant", Collection: "exports"}
	return list
}

// states is packages under keys that no longer seal but still open.
func states(r *rings) []*builder {
	s := r.states
	return []*builder{
		begin(s, "under the primary of five keys", format.UseService, classify.PHI),
		begin(s, "under an old key", format.UseService, classify.PHI).under(s, r.service.old),
		begin(s, "under a compromised key", format.UseService, classify.PHI).under(s, r.service.compromised),
		begin(s, "under a compromised primary", format.UseCache, classify.PII),
		begin(r.unicode, "non-ASCII owner", format.UseStorage, classify.PHI),
	}
}

func chunks(r *ring) (list []*builder) {
	for _, n := range []int{0, 1, 16_383, 16_384, 16_385, 40_000} {
		b := begin(r, fmt.Sprintf("chunked, %d bytes", n), format.UseFile, classify.PHI).typed(format.Bytes, nil).chunked()
		if n > 0 {
			b.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: n}
		}
		list = append(list, b)
	}
	sealed := vectors.Details{Context: map[string]string{"patientId": "P12345"}, MediaType: "application/dicom", FileName: "scan.dcm", LastModified: t0}
	three := begin(r, "chunked, three chunks", format.UseFile, classify.PHI).typed(format.Bytes, nil).chunked()
	three.spelled = true // others are made of it
	three.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: 2*plain.ChunkSize + 1}
	view := vectors.Details{Name: "name", Element: uint8(format.ElementInt16)}
	return append(list, three,
		begin(r, "chunked, passphrase", format.UseFile, classify.Internal).ofType(format.Text).chunked().passphrase("a passphrase", format.MinIterations),
		begin(r, "chunked, master key", format.UseFile, classify.PII).ofType(format.Text).chunked().masterKey(draw(32, "the master key")),
		begin(r, "chunked, public", format.UseFile, classify.Public).ofType(format.Blob).chunked(),
		begin(r, "chunked, padded view with a sealed name", format.UseFile, classify.PHI).flag(format.Padded|format.SealedName).
			typed(format.View, draw(6, "chunked view")).describe(view).chunked(),
		begin(r, "chunked, file", format.UseFile, classify.PHI).ofType(format.File).chunked(),
		begin(r, "chunked, sealed context", format.UseFile, classify.PHI).flag(format.SealedContext).
			typed(format.File, []byte("value")).describe(sealed).chunked(),
		begin(r, "chunked, internal, no name", format.UseStorage, classify.Internal).ofType(format.Text).with(map[string]string{"a": "b"}).chunked(),
	)
}
