package main

import (
	"fmt"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// grid is a package of every class, use and value type.
func grid(r *rings) (list []vectors.Package) {
	for _, class := range classify.All {
		for use := format.UseStorage; use <= format.Uses; use++ {
			for kind := format.Text; kind <= format.File; kind++ {
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
	default:
		return b.typed(kind, draw(33, b.name+"/value"))
	}
}

// special is packages at the limits and of every other source, flag and algorithm.
func special(r *rings) (list []vectors.Package) {
	example := begin(r.all, "worked example", format.UseService, classify.PHI).typed(format.Text, []byte("123-45-6789")).
		with(map[string]string{"user_id": "user_123", "field": "ssn"}).named("user:123:ssn")
	for _, group := range [][]*builder{
		{example}, values(r.all), places(r.all), contexts(r.all), fields(r.all), details(r.all), flags(r.all), sources(r.all),
		states(r), chunks(r.all),
	} {
		for _, b := range group {
			list = append(list, b.vector())
		}
	}
	return list
}

func values(r *ring) (list []*builder) {
	for kind := format.Text; kind <= format.File; kind++ {
		var empty []byte
		if kind == format.JSON {
			empty = []byte(`""`) // nothing at all is no JSON
		}
		for _, class := range []classify.Class{classify.Public, classify.PHI} {
			list = append(list, begin(r, fmt.Sprintf("empty %v, %v", kind, class), format.UseStorage, class).typed(kind, empty))
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
	add("file, before 1970", format.File, classify.PHI, vectors.Details{FileName: "old", LastModified: -1})
	add("file, earliest, public", format.File, classify.Public, vectors.Details{FileName: "oldest", LastModified: -format.MaxTime})
	return list
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
		add(fmt.Sprintf("passphrase at the floor, %v", class), class).
			passphrase("a passphrase", max(class.Rules().ReadFloor, classify.Internal.Rules().ReadFloor))
		add(fmt.Sprintf("master key, %v", class), class).masterKey(draw(32, "the master key"))
	}
	add("passphrase, 600000 iterations", classify.PHI).passphrase("correct horse battery staple", classify.WriteFloor)
	add("passphrase, decomposed", classify.PHI).passphrase("Cafe\u0301 \u212b \u1e9b\u0323 😀", classify.PHI.Rules().ReadFloor)
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
	return append(list,
		begin(r, "chunked, file", format.UseFile, classify.PHI).ofType(format.File).chunked(),
		begin(r, "chunked, sealed context", format.UseFile, classify.PHI).flag(format.SealedContext).
			typed(format.File, []byte("value")).describe(sealed).chunked(),
		begin(r, "chunked, internal, no name", format.UseStorage, classify.Internal).ofType(format.Text).with(map[string]string{"a": "b"}).chunked(),
	)
}
