package main

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// rules returns the vectors of rules that packages alone do not test.
func rules(r *validDocuments) vectors.RuleVectors {
	return vectors.RuleVectors{
		Secrets: secrets(), Sessions: sessions(), Collections: collections(), Paddings: paddings(), Bodies: bodies(),
		Revisions: revisions(r), Primaries: primaries(r), Inputs: inputs(),
	}
}

// secrets returns texts of master keys and passphrases.
func secrets() (list []vectors.TextSecret) {
	master := base64.StdEncoding.EncodeToString(draw(32, "the master key"))
	list = append(list, vectors.TextSecret{
		Name: "base64 of 32 bytes", Text: master, Kind: "master-key", Key: plain.FromMasterKey(draw(32, "the master key")),
	})
	for name, text := range ordered(
		"word", "a passphrase", "base64 without padding", strings.TrimSuffix(master, "="), "base64 and a space", master+" ", "base64 and a line break", master+"\n",
		"base64url of 32 bytes", strings.Repeat("-", 42)+"A=", "base64 of 31 bytes", strings.Repeat("A", 42)+"==", "base64 of 33 bytes", strings.Repeat("A", 44),
		"base64 with unused bits", strings.Repeat("A", 42)+"B=", "hexadecimal of 32 bytes", strings.Repeat("0a", 32), "space", " ",
		"precomposed", "Caf\u00e9", "combining", "Cafe\u0301", "compatibility character", "\ufb01", "byte order mark", "\ufeffa", "astral", "😀",
		"65 bytes, longer than a block of SHA-256", strings.Repeat("x", 65),
	) {
		salt := draw(format.SaltSize, "secret "+name)
		list = append(list, vectors.TextSecret{
			Name: name, Text: text, Kind: "passphrase", Salt: salt, Iterations: format.MinIterations,
			Key: plain.FromPassphrase(text, format.Salt(salt), format.MinIterations),
		})
	}
	for name, text := range ordered("nothing", "", "NUL", "\x00", "NUL at the end", "abc\x00", "NUL within", "a\x00b") {
		list = append(list, vectors.TextSecret{Name: name, Text: text, Code: format.ErrInvalid.Code()})
	}
	for name, text := range ordered("not UTF-8", "a\xff", "surrogate", "\xed\xa0\x80") {
		list = append(list, vectors.TextSecret{Name: name, Hex: vectors.Hex(text), Code: format.ErrInvalid.Code()})
	}
	return list
}

// sessions returns the key and name of a session for several owners. Two owners differ only by a trailing zero.
func sessions() (list []vectors.Session) {
	id := make([]byte, 32)
	for i := range id {
		id[i] = byte(i)
	}
	for name, owner := range ordered(
		"an owner", "clinic-7", "owner a", "a", "owner a and NUL", "a\x00", "no owner", "", "non-ASCII owner", "Klinik Zürich 😀",
		"owner of 255 bytes", strings.Repeat("é", 127)+"x",
	) {
		list = append(list, vectors.Session{
			Name: name, Owner: owner, ID: base64.RawURLEncoding.EncodeToString(id),
			MasterKey: plain.SessionKey(id, owner), StoredAs: plain.SessionName(id, owner),
		})
	}
	return list
}

func collections() (list []vectors.Collection) {
	long := strings.Repeat("x", 253)
	for _, c := range [][3]string{
		{"a table and a column", "patients", "ssn"}, {"dots", "public.patients", "a.b"}, {"non-ASCII", "Zürich", "😀"}, {"255 bytes", "t", long},
		{"256 bytes", "t", long + "x"}, {"no table", "", "c"}, {"no column", "t", ""}, {"NUL in the table", "a\x00b", "c"}, {"NUL in the column", "a", "b\x00c"},
	} {
		v := vectors.Collection{Name: c[0], Table: c[1], Column: c[2]}
		collection, err := format.FieldCollection(c[1], c[2])
		if v.Collection = collection; err != nil {
			v.Code = err.(coded).Code()
		}
		list = append(list, v)
	}
	return list
}

func paddings() (list []vectors.Padding) {
	for _, n := range []int{0, 1, 254, 255, 256, 271, 272, 511, 512, 1000, 1023, 1024, 10_000, 65_535, 65_536, 1_000_000, format.MaxValue} {
		list = append(list, vectors.Padding{Length: n, Padded: format.PaddedSize(n)})
	}
	return list
}

// bodies returns lengths of bodies at their bounds. Most of these bodies are too long for a vector.
func bodies() (list []vectors.Body) {
	const overhead, sealed, head = format.NonceSize + format.TagSize, plain.ChunkSize + format.TagSize, plain.ChunkedSalt + 32
	most := int64(overhead + format.MaxDetails + format.MaxValue)
	for _, b := range []vectors.Body{
		{Name: "longest", Algorithm: 1, Length: most}, {Name: "too long", Algorithm: 1, Length: most + 1},
		{Name: "longest, public", Algorithm: 2, Length: most}, {Name: "too long, public", Algorithm: 2, Length: most + 1},
		{Name: "longest, padded", Algorithm: 1, Flags: 4, Length: overhead + 66<<20},
		{Name: "too long, padded", Algorithm: 1, Flags: 4, Length: overhead + 66<<20 + 1},
		{Name: "tombstone", Algorithm: 1, Flags: 1, Length: overhead}, {Name: "tombstone with a value", Algorithm: 1, Flags: 1, Length: overhead + 1},
		{Name: "tombstone, padded", Algorithm: 1, Flags: 5, Length: overhead + 256},
		{Name: "chunked, one empty chunk", Algorithm: 3, Length: head + 16}, {Name: "chunked, less than a tag", Algorithm: 3, Length: head + 15},
		{Name: "chunked, a whole chunk", Algorithm: 3, Length: head + sealed}, {Name: "chunked, almost a whole chunk", Algorithm: 3, Length: head + sealed - 1},
		{Name: "chunked, a whole chunk and less than a tag", Algorithm: 3, Length: head + sealed + 15},
		{Name: "chunked, a whole chunk and an empty one", Algorithm: 3, Length: head + sealed + 16},
		{Name: "chunked, 2^38 chunks", Algorithm: 3, Length: head + (format.MaxChunks-1)*sealed + sealed - 1},
		{Name: "chunked, 2^38 chunks and an empty one", Algorithm: 3, Length: head + format.MaxChunks*sealed + 16},
	} {
		h := format.Header{Algorithm: format.Algorithm(b.Algorithm), Flags: format.Flags(b.Flags)}
		if err := format.CheckBody(&h, int(b.Length)); err != nil {
			b.Code = err.(coded).Code()
		}
		list = append(list, b)
	}
	return list
}

// inputs returns places, contexts and details at their limits and over them.
func inputs() (list []vectors.Input) {
	add := func(name string, code coded, change func(v *vectors.Input)) {
		record := "record"
		v := vectors.Input{
			Name: name, Type: uint8(format.File), Flags: uint8(format.SealedName), Place: vectors.Place{Owner: "o", Collection: "c", Name: &record},
		}
		if change(&v); code != nil {
			v.Code = code.Code()
		}
		list = append(list, v)
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, limit := range []struct {
		name string
		most int
		set  func(v *vectors.Input, text string)
	}{
		{"owner", format.MaxOwner, func(v *vectors.Input, text string) { v.Place.Owner = text }},
		{"collection", format.MaxCollection, func(v *vectors.Input, text string) { v.Place.Collection = text }},
		{"name", format.MaxName, func(v *vectors.Input, text string) { v.Place.Name = &text }},
		{"sealed name", format.MaxName, func(v *vectors.Input, text string) { v.Details.Name = text }},
		{"media type", format.MaxMediaType, func(v *vectors.Input, text string) { v.Details.MediaType = text }},
		{"file name", format.MaxFileName, func(v *vectors.Input, text string) { v.Details.FileName = text }},
		{"value of a context", format.MaxContext - 5, func(v *vectors.Input, text string) { v.Context = map[string]string{"k": text} }},
		{"value of a sealed context", format.MaxContext - 5, func(v *vectors.Input, text string) {
			v.Flags, v.Details.Context = uint8(format.SealedContext), map[string]string{"k": text}
		}},
	} {
		add(fmt.Sprintf("%s of %d bytes", limit.name, limit.most), nil, func(v *vectors.Input) { limit.set(v, x(limit.most)) })
		add(fmt.Sprintf("%s of %d bytes", limit.name, limit.most+1), format.ErrTooLarge, func(v *vectors.Input) { limit.set(v, x(limit.most+1)) })
		if limit.most < format.MaxContext-5 {
			add(fmt.Sprintf("%s of %d bytes in fewer characters", limit.name, limit.most+1), format.ErrTooLarge, func(v *vectors.Input) { limit.set(v, "é"+x(limit.most-1)) })
		}
	}
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = ""
		}
		return m
	}
	add("context of 64 entries", nil, func(v *vectors.Input) { v.Context = many(64) })
	add("context of 65 entries", format.ErrTooLarge, func(v *vectors.Input) { v.Context = many(65) })
	for _, sign := range []int64{-1, 1} {
		add(fmt.Sprintf("last time of a file, sign %d", sign), nil, func(v *vectors.Input) { v.Details.LastModified = sign * format.MaxTime })
		add(fmt.Sprintf("time of a file out of range, sign %d", sign), format.ErrInvalid, func(v *vectors.Input) { v.Details.LastModified = sign * (format.MaxTime + 1) })
	}
	add("element 12", nil, func(v *vectors.Input) { v.Type, v.Details.Element = uint8(format.View), 12 })
	add("element 13", format.ErrInvalid, func(v *vectors.Input) { v.Type, v.Details.Element = uint8(format.View), 13 })
	add("element 0", format.ErrInvalid, func(v *vectors.Input) { v.Type = uint8(format.View) })
	return list
}

// revisions returns pairs of packages of one place.
func revisions(r *validDocuments) (list []vectors.Revision) {
	sealed := func(name string, change func(h *format.Header)) []byte {
		b := newPackageBuilder(r.all, "revision, "+name, format.UseStorage, classify.PHI)
		b.in.Header.Revision = 7
		change(&b.in.Header)
		return b.bytes()
	}
	same := func(*format.Header) {}
	base := sealed("base", same)
	dead := newPackageBuilder(r.all, "revision, tombstone", format.UseStorage, classify.PHI).withFlags(format.Tombstone).withValue(format.Bytes, nil)
	dead.in.Header.Revision = 8
	first, second := base, sealed("equal", same)
	if string(first) > string(second) {
		first, second = second, first
	}
	return append(list,
		vectors.Revision{Name: "greater revision, earlier time", Earlier: base, Later: sealed("greater", func(h *format.Header) { h.Revision, h.EncryptedAt, h.Salt = 8, 0, format.Salt{} })},
		vectors.Revision{Name: "equal revision, later time", Earlier: base, Later: sealed("later", func(h *format.Header) { h.EncryptedAt++; h.Salt = format.Salt{} })},
		vectors.Revision{Name: "equal revision and time, greater bytes", Earlier: first, Later: second},
		vectors.Revision{Name: "tombstone", Earlier: base, Later: dead.bytes()},
		vectors.Revision{Name: "last revision", Earlier: base, Later: sealed("last", func(h *format.Header) { h.Revision = format.MaxRevision })},
	)
}

// primaries returns the key that seals for every keyset of two documents, a missing keyset and a shredded document.
func primaries(r *validDocuments) (list []vectors.Primary) {
	for _, ring := range append([]*documentBuilder{r.states}, r.lives...) {
		index := envelope.NewIndex(ring.opened())
		for i := range ring.doc.Keysets {
			s := &ring.doc.Keysets[i]
			list = append(list, primary(index, ring.name, s.Use, s.Class))
		}
	}
	dead := r.lives[0]
	return append(list,
		primary(envelope.NewIndex(r.states.opened()), r.states.name, format.UseFile, classify.Public),
		primary(envelope.NewIndex(r.begun.opened()), r.begun.name, format.UseCache, classify.PHI),
		primary(envelope.NewIndex(dead.opened()), dead.name, format.UseCache, classify.PHI))
}

func primary(index *envelope.Index, document string, use format.Use, class classify.Class) vectors.Primary {
	v := vectors.Primary{Name: document + ", " + use.String() + ", " + class.String(), Document: document, Use: uint8(use), Class: uint8(class)}
	id, err := index.Primary(use, class)
	if err != nil {
		v.Code = err.(coded).Code()
		return v
	}
	v.KeyID = id[:]
	return v
}
