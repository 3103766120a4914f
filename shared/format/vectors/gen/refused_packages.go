package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// refusalList collects packages that must not open.
type refusalList struct {
	rings *validDocuments
	list  []vectors.Refusal
}

func refusedOpens(r *validDocuments) []vectors.Refusal {
	x := &refusalList{rings: r}
	x.altered()
	x.altersPublic()
	x.wrongKeys()
	x.moved()
	x.forged()
	x.demands()
	x.states()
	x.secrets()
	x.derivations()
	x.plaintexts()
	x.hidden()
	x.chunks()
	x.tooLong()
	return x.list
}

// add adds a package that is read with b's keys at b's place.
func (x *refusalList) add(name string, b *packageBuilder, pkg []byte, code coded) *vectors.Refusal {
	x.list = append(x.list, vectors.Refusal{
		Name: name, Document: b.document, Secret: b.secret, Use: uint8(b.in.Header.Use), Place: b.place, Package: vectors.Data{Hex: pkg}, Code: code.Code(),
	})
	return &x.list[len(x.list)-1]
}

type coded interface{ Code() string }

// base returns the package from which most refusals are made.
func (x *refusalList) base() *packageBuilder {
	return newPackageBuilder(x.rings.all, "refused base", format.UseService, classify.PHI).withContext(map[string]string{"a": "1", "b": "2"})
}

// flipBit returns b with one bit of the byte at an offset flipped. Negative offsets count from the end.
func flipBit(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[(at+len(b))%len(b)] ^= 1
	return b
}

// altered adds packages with one part changed to another valid value.
func (x *refusalList) altered() {
	base := x.base()
	pkg := base.bytes()
	edit := func(name string, at int, with byte, code coded) {
		x.add("altered "+name, base, setAll(pkg, map[int]byte{at: with}), code)
	}
	edit("use", atUse, byte(format.UseCache), envelope.ErrAuthentication)
	edit("source", atSource, byte(format.FromMasterKey), envelope.ErrUnknownKey)
	edit("class, lower", atClass, byte(classify.PII), envelope.ErrAuthentication)
	edit("class, public", atClass, byte(classify.Public), envelope.ErrAuthentication)
	edit("type", atType, byte(format.Bytes), envelope.ErrAuthentication)
	x.flips(base, pkg)
	bare := newPackageBuilder(x.rings.all, "refused bare", format.UseService, classify.PHI).withValue(format.Bytes, nil)
	x.add("altered flags, sealed context", bare, setAll(bare.bytes(), map[int]byte{atFlags: 2}), envelope.ErrAuthentication)
	x.add("altered flags, tombstone", bare, setAll(bare.bytes(), map[int]byte{atFlags: 1}), envelope.ErrAuthentication)
	dead := newPackageBuilder(x.rings.all, "refused tombstone", format.UseService, classify.PHI).withValue(format.Bytes, nil).withFlags(format.Tombstone)
	x.add("tombstone made a value", dead, setAll(dead.bytes(), map[int]byte{atFlags: 0}), envelope.ErrAuthentication)
	context := must(format.NewContext(map[string]string{"a": "1", "b": "2"}))
	removed := slices.Concat(pkg[:atContext], []byte{0, 0}, pkg[format.HeaderSize+context.Size():])
	x.add("removed context", base, removed, envelope.ErrAuthentication)
	x.add("cut at the end", base, pkg[:len(pkg)-1], envelope.ErrAuthentication)
	x.add("trailing byte", base, append(slices.Clone(pkg), 0), envelope.ErrAuthentication)
	x.add("no ciphertext", base, pkg[:format.HeaderSize+context.Size()+28], envelope.ErrAuthentication)
}

// flips adds packages with one bit of a field flipped.
func (x *refusalList) flips(base *packageBuilder, pkg []byte) {
	body := format.HeaderSize + base.in.Header.Context.Size()
	for _, f := range []struct {
		name string
		at   int
		code coded
	}{
		{"key id, first byte", atKeyID, envelope.ErrUnknownKey}, {"key id, last byte", atKeyID + 31, envelope.ErrUnknownKey},
		{"salt, first byte", atSalt, envelope.ErrAuthentication}, {"salt, last byte", atSalt + 15, envelope.ErrAuthentication},
		{"time", atTime + 7, envelope.ErrAuthentication}, {"revision", atRevision + 7, envelope.ErrAuthentication},
		{"context key", atContext + 4, envelope.ErrAuthentication}, {"context value", body - 1, envelope.ErrAuthentication},
		{"nonce, first byte", body, envelope.ErrAuthentication}, {"nonce, last byte", body + 11, envelope.ErrAuthentication},
		{"ciphertext", body + 12, envelope.ErrAuthentication}, {"tag, first byte", -16, envelope.ErrAuthentication},
		{"tag, last byte", -1, envelope.ErrAuthentication},
	} {
		x.add("flipped "+f.name, base, flipBit(pkg, f.at), f.code)
	}
}

func (x *refusalList) altersPublic() {
	base := newPackageBuilder(x.rings.all, "refused public", format.UseCache, classify.Public)
	pkg := base.bytes()
	x.add("public, flipped value", base, flipBit(pkg, -1), envelope.ErrAuthentication)
	x.add("public, flipped tag", base, flipBit(pkg, format.HeaderSize+12), envelope.ErrAuthentication)
	x.add("public, flipped nonce", base, flipBit(pkg, format.HeaderSize), envelope.ErrAuthentication)
	x.add("public, cut value", base, pkg[:len(pkg)-1], envelope.ErrAuthentication)
	x.add("public, flipped time", base, flipBit(pkg, atTime+7), envelope.ErrAuthentication)
	x.add("public, class raised", base, setAll(pkg, map[int]byte{atAlgorithm: 1, atClass: 2}), envelope.ErrAuthentication)
	x.add("public, algorithm of sealed values", base, setAll(pkg, map[int]byte{atAlgorithm: 1}), envelope.ErrAuthentication)
}

// wrongKeys adds packages with the id of another key of the document.
func (x *refusalList) wrongKeys() {
	base := x.base()
	rename := func(name string, b *packageBuilder, id format.KeyID) {
		pkg := b.bytes()
		copy(pkg[atKeyID:], id[:])
		x.add("key id of "+name, b, pkg, envelope.ErrAuthentication)
	}
	rename("another use", base, first(x.rings.all.primary(format.UseCache, classify.PHI)))
	rename("another class", base, first(x.rings.all.primary(format.UseService, classify.PII)))
	rename("another key of the keyset", newPackageBuilder(x.rings.states, "refused old", format.UseService, classify.PHI), x.rings.service.old)
	base.document = x.rings.states.name
	x.add("another tenant's document", base, base.bytes(), envelope.ErrUnknownKey)
	base.document = x.rings.empty.name
	x.add("an empty document", base, base.bytes(), envelope.ErrUnknownKey)
	base.document = x.rings.lives[0].name
	x.add("a shredded document", base, base.bytes(), envelope.ErrKeyDestroyed)
	x.borrowedKeys()
	single := newPackageBuilder(x.rings.all, "refused master key", format.UseService, classify.PHI).masterKey(draw(32, "the master key"))
	single.document, single.secret = x.rings.all.name, nil
	x.add("package of a master key, read with a document", single, single.bytes(), envelope.ErrUnknownKey)
	x.otherSources()
}

// borrowedKeys adds packages that were sealed under a key of another use or class than the header's. Everything else in
// them is correct, so only the check of the key's own use and class refuses them.
func (x *refusalList) borrowedKeys() {
	borrow := func(name string, b *packageBuilder, use format.Use, class classify.Class) *vectors.Refusal {
		b.in.Header.KeyID, b.in.Key = x.rings.all.primary(use, class)
		return x.add("sealed under a key of "+name, b, b.bytes(), envelope.ErrAuthentication)
	}
	of := func(use format.Use, class classify.Class) *packageBuilder {
		return newPackageBuilder(x.rings.all, "refused borrowed key", use, class)
	}
	borrow("another use", of(format.UseService, classify.PHI), format.UseCache, classify.PHI)
	borrow("a lower class", of(format.UseService, classify.PHI), format.UseService, classify.PII)
	borrow("a higher class", of(format.UseService, classify.PII), format.UseService, classify.PHI)
	borrow("class public", of(format.UseStorage, classify.PHI), format.UseStorage, classify.Public)
	borrow("class phi, public package", of(format.UseStorage, classify.Public), format.UseStorage, classify.PHI)
	borrow("another use, public package", of(format.UseStorage, classify.Public), format.UseCache, classify.Public)
	borrow("a lower class, chunked", of(format.UseFile, classify.PHI).chunked(), format.UseFile, classify.Internal)
}

// otherSources adds packages that are read with a secret of another kind.
func (x *refusalList) otherSources() {
	word := &vectors.Secret{Kind: "passphrase", Text: "a passphrase"}
	master := &vectors.Secret{Kind: "master-key", Text: base64.StdEncoding.EncodeToString(draw(32, "the master key"))}
	read := func(name string, b *packageBuilder, secret *vectors.Secret) {
		b.document, b.secret = "", secret
		x.add(name, b, b.bytes(), envelope.ErrWrongSecret)
	}
	name := "refused source"
	read("package of a keyset, read with a passphrase", x.base(), word)
	read("package of a keyset, read with a master key", x.base(), master)
	read("package of a master key, read with a passphrase",
		newPackageBuilder(x.rings.all, name, format.UseService, classify.PHI).masterKey(draw(32, "the master key")), word)
	read("package of a passphrase, read with a master key",
		newPackageBuilder(x.rings.all, name, format.UseService, classify.Internal).passphrase(word.Text, 100_000), master)
}

func first[T, U any](v T, _ U) T { return v }

func (x *refusalList) moved() {
	move := func(name string, b *packageBuilder, to vectors.Place) {
		x.add("moved to "+name, b, b.bytes(), envelope.ErrAuthentication).Place = to
	}
	base := x.base()
	here, other, empty := base.place, "other", ""
	shifted, collection := here.Collection[len(here.Collection)-1:]+*here.Name, here.Collection[:len(here.Collection)-1]
	move("another owner", base, vectors.Place{Owner: "tenant-8", Collection: here.Collection, Name: here.Name})
	move("another collection", base, vectors.Place{Owner: here.Owner, Collection: other, Name: here.Name})
	move("another name", base, vectors.Place{Owner: here.Owner, Collection: here.Collection, Name: &other})
	move("no name", base, vectors.Place{Owner: here.Owner, Collection: here.Collection})
	move("a shifted boundary", base, vectors.Place{Owner: here.Owner, Collection: collection, Name: &shifted})
	move("owner and collection swapped", base, vectors.Place{Owner: here.Collection, Collection: here.Owner, Name: here.Name})
	none := newPackageBuilder(x.rings.all, "refused no name", format.UseService, classify.PHI)
	none.place.Name = nil
	move("the empty name", none, vectors.Place{Owner: here.Owner, Collection: here.Collection, Name: &empty})
	precomposed, combining := "caf\u00e9", "cafe\u0301"
	move("a name that looks the same", x.base().withName(precomposed), vectors.Place{Owner: here.Owner, Collection: here.Collection, Name: &combining})
	public := newPackageBuilder(x.rings.all, "refused public move", format.UseCache, classify.Public)
	move("another name, public", public, vectors.Place{Owner: here.Owner, Collection: here.Collection, Name: &other})
}

// forged adds public packages that replace an encrypted one. Their tags are random, because a forger does not have the key.
func (x *refusalList) forged() {
	base := x.base()
	forge := func(name string, id format.KeyID, code coded) {
		h := base.in.Header
		h.Algorithm, h.Class, h.KeyID = format.Public, uint8(classify.Public), id
		p := format.Package{Header: h, Body: slices.Concat(draw(28, "forged"), []byte("forged value"))}
		x.add("forged public, "+name, base, must(p.Append(nil)), code)
	}
	forge("the sealed package's key id", base.in.Header.KeyID, envelope.ErrAuthentication)
	forge("a public key's id", first(x.rings.all.primary(format.UseService, classify.Public)), envelope.ErrAuthentication)
	forge("an unknown key id", format.KeyID(draw(32, "forged id")), envelope.ErrUnknownKey)
}

func (x *refusalList) demands() {
	for _, class := range classify.All[:4] {
		b := newPackageBuilder(x.rings.all, fmt.Sprintf("refused %v", class), format.UseService, class)
		x.add(fmt.Sprintf("class %v where %v is demanded", class, class+1), b, b.bytes(), classify.ErrTooLow).Least = uint8(class) + 1
	}
	lowered := x.base()
	x.add("class lowered, phi demanded", lowered, setAll(lowered.bytes(), map[int]byte{atClass: 1}), classify.ErrTooLow).Least = uint8(classify.PHI)
	b := x.base()
	x.add("use service where cache is demanded", b, b.bytes(), envelope.ErrAuthentication).Use = uint8(format.UseCache)
}

func (x *refusalList) states() {
	s, k := x.rings.states, x.rings.service
	disabled := newPackageBuilder(s, "refused disabled", format.UseService, classify.PHI).underKey(s, k.disabled)
	x.add("under a disabled key", disabled, disabled.bytes(), envelope.ErrKeyUnusable)
	destroyed := newPackageBuilder(s, "refused destroyed", format.UseService, classify.PHI).underKey(s, k.destroyed)
	x.add("under a destroyed key", destroyed, destroyed.bytes(), envelope.ErrKeyDestroyed)
	former := newPackageBuilder(x.rings.foreign, "refused former", format.UseCache, classify.PHI)
	former.document = x.rings.begun.name
	x.add("a document that began again without keys", former, former.bytes(), envelope.ErrUnknownKey)
	foreign := newPackageBuilder(x.rings.foreign, "refused foreign", format.UseCache, classify.PHI)
	x.add("under a key of a root that nothing opens", foreign, foreign.bytes(), envelope.ErrUnknownKey)
}

// secrets adds packages of passphrases and master keys that are read with another secret, or that were altered.
func (x *refusalList) secrets() {
	pass := newPackageBuilder(x.rings.all, "refused passphrase", format.UseService, classify.Internal).passphrase("a passphrase", 100_000)
	pkg := pass.bytes()
	x.add("another passphrase", pass, pkg, envelope.ErrWrongSecret).Secret = &vectors.Secret{Kind: "passphrase", Text: "A passphrase"}
	x.add("passphrase, flipped key id", pass, flipBit(pkg, atKeyID), envelope.ErrWrongSecret)
	x.add("passphrase, flipped salt", pass, flipBit(pkg, atSalt), envelope.ErrWrongSecret)
	x.add("passphrase, one iteration more", pass, flipBit(pkg, atIterations+3), envelope.ErrWrongSecret)
	x.add("passphrase, flipped time", pass, flipBit(pkg, atTime+7), envelope.ErrAuthentication)
	x.add("passphrase, flipped tag", pass, flipBit(pkg, -1), envelope.ErrAuthentication)
	master := newPackageBuilder(x.rings.all, "refused master", format.UseService, classify.PHI).masterKey(draw(32, "the master key"))
	pkg = master.bytes()
	another := base64.StdEncoding.EncodeToString(draw(32, "another master key"))
	x.add("another master key", master, pkg, envelope.ErrWrongSecret).Secret = &vectors.Secret{Kind: "master-key", Text: another}
	x.add("master key, flipped key id", master, flipBit(pkg, atKeyID), envelope.ErrWrongSecret)
	x.add("master key, flipped salt", master, flipBit(pkg, atSalt), envelope.ErrAuthentication)
	x.add("master key, source", master, setAll(pkg, map[int]byte{atSource: byte(format.FromKeyset)}), envelope.ErrWrongSecret)
	x.add("master key, use", master, setAll(pkg, map[int]byte{atUse: 2}), envelope.ErrAuthentication)
	x.add("master key, class", master, setAll(pkg, map[int]byte{atClass: 4}), envelope.ErrAuthentication)
	x.add("master key, class demanded", master, setAll(pkg, map[int]byte{atClass: 4}), classify.ErrTooLow).Least = uint8(classify.PHI)
}

// derivations adds packages of passphrases that a reader must refuse before it derives a key.
func (x *refusalList) derivations() {
	for _, class := range classify.All {
		x.derivation(fmt.Sprintf("below the floor, %v", class), class, format.MinIterations-1)
	}
	x.derivation("one iteration", classify.PHI, 1)
	x.derivation("above the ceiling", classify.PHI, format.MaxIterations+1)
	x.derivation("4294967295 iterations", classify.Internal, 1<<32-1)
}

func (x *refusalList) derivation(name string, class classify.Class, iterations uint32) {
	b := newPackageBuilder(x.rings.all, "refused "+name, format.UseService, class).fromSecret("passphrase", "a passphrase")
	h := b.in.Header
	h.Source, h.Iterations = format.FromPassphrase, iterations
	p := format.Package{Header: h, Body: draw(28, name)}
	x.add(name, b, must(p.Append(nil)), classify.ErrIterations)
}

// plaintext adds a package that is authentic, but has a plaintext that does not match its header.
func (x *refusalList) plaintext(name string, kind format.ValueType, flags format.Flags, plaintext string) {
	b := newPackageBuilder(x.rings.all, "refused "+name, format.UseFile, classify.PHI).withValue(kind, nil).withFlags(flags)
	x.add("plaintext, "+name, b, b.raw([]byte(plaintext)), format.ErrMalformed)
}

// raw seals a plaintext without checking it.
func (b *packageBuilder) raw(plaintext []byte) []byte {
	additional := must(plain.AdditionalData(&b.in.Header, b.place.Format()))
	p := format.Package{Header: b.in.Header, Body: plain.SealBody(b.in, additional, plaintext)}
	return must(p.Append(nil))
}

func (x *refusalList) plaintexts() {
	add := x.plaintext
	date := "\x00\x00\x00\x00\x00\x00\x00\x00"
	add("blob of one byte", format.Blob, 0, "\x00")
	add("media type longer than the plaintext", format.Blob, 0, "\x00\x03ab")
	add("media type of 256 bytes", format.Blob, 0, "\x01\x00"+strings.Repeat("x", 256))
	add("media type, not UTF-8", format.Blob, 0, "\x00\x01\xff")
	add("file without a name", format.File, 0, "\x00\x00\x00")
	add("file name of 1025 bytes", format.File, 0, "\x00\x00\x04\x01"+strings.Repeat("x", 1025)+date)
	add("file name, not UTF-8", format.File, 0, "\x00\x00\x00\x02\xc0\x80"+date)
	add("file without a date", format.File, 0, "\x00\x00\x00\x00"+date[1:])
	add("file after 9999", format.File, 0, "\x00\x00\x00\x00\x7f"+date[1:])
	add("file a millisecond after 9999", format.File, 0, string(binary.BigEndian.AppendUint64([]byte("\x00\x00\x00\x00"), format.MaxTime+1)))
	add("file long before 1970", format.File, 0, "\x00\x00\x00\x00\x80"+date[1:])
	add("no sealed context", format.Text, format.SealedContext, "")
	add("sealed context longer than the plaintext", format.Text, format.SealedContext, "\x00\x07\x00\x01a\x00\x01")
	add("sealed context unsorted", format.Text, format.SealedContext, "\x00\x0c\x00\x01b\x00\x011\x00\x01a\x00\x011")
	add("sealed context with a key twice", format.Text, format.SealedContext, "\x00\x0c\x00\x01a\x00\x011\x00\x01a\x00\x011")
	add("sealed context, not UTF-8", format.Text, format.SealedContext, "\x00\x05\x00\x01\xff\x00\x00")
	var many []string
	for i := range format.MaxContextEntries + 1 {
		many = append(many, fmt.Sprintf("%02d", i), "")
	}
	add("sealed context of 65 entries", format.Text, format.SealedContext, string(sized(entries(many...))))
	add("sealed context of 16385 bytes", format.Text, format.SealedContext, string(sized(entries("k", strings.Repeat("v", format.MaxContext-4)))))
	add("tombstone with a sealed context and a value", format.Bytes, format.Tombstone|format.SealedContext, "\x00\x00x")
}

// sized returns b after its 16-bit length.
func sized(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// paddedAndSealedNames adds invalid plaintexts of packages with flags padded or sealed name, and of views.
func (x *refusalList) hidden() {
	add := x.plaintext
	add("no padding", format.Bytes, format.Padded, "")
	add("padding without its mark", format.Bytes, format.Padded, "value\x00\x00")
	add("padding of zeros only", format.Bytes, format.Padded, "\x00\x00\x00")
	add("padding with another mark", format.Bytes, format.Padded, "value\x81\x00")
	add("padding that ends in another byte", format.Bytes, format.Padded, "value\x80\x01")
	add("padded tombstone with a value", format.Bytes, format.Tombstone|format.Padded, "x\x80")
	add("no sealed name", format.Text, format.SealedName, "\x00")
	add("sealed name longer than the plaintext", format.Text, format.SealedName, "\x00\x02a")
	add("sealed name of 1025 bytes", format.Text, format.SealedName, "\x04\x01"+strings.Repeat("x", 1025))
	add("sealed name, not UTF-8", format.Text, format.SealedName, "\x00\x01\xff")
	add("sealed name before the sealed context", format.Text, format.SealedName|format.SealedContext, "\x00\x01n\x00\x06\x00\x01a\x00\x011")
	add("tombstone with a sealed name and a value", format.Bytes, format.Tombstone|format.SealedName, "\x00\x01nx")
	add("view without an element type", format.View, 0, "")
	add("view of the element type 0", format.View, 0, "\x00")
	add("view of the element type 13", format.View, 0, "\x0d")
	for e := format.ElementInt16; e <= format.ElementFloat64; e++ {
		add(fmt.Sprintf("view with half a %v element", e), format.View, 0, string(e)+strings.Repeat("\x00", e.Size()*3/2))
	}
	b := newPackageBuilder(x.rings.all, "refused sealed name", format.UseStorage, classify.PHI).withFlags(format.SealedName).
		withDetails(vectors.Details{Name: "name"}).withName("blinded")
	name := "name"
	x.add("sealed name at the place of the name itself", b, b.bytes(), envelope.ErrAuthentication).Place.Name = &name
	bare := newPackageBuilder(x.rings.all, "refused bare", format.UseService, classify.PHI).withValue(format.Bytes, []byte{0x80})
	x.add("altered flags, padded", bare, setAll(bare.bytes(), map[int]byte{atFlags: 4}), envelope.ErrAuthentication)
	x.add("altered flags, sealed name", bare, setAll(bare.bytes(), map[int]byte{atFlags: 8}), envelope.ErrAuthentication)
}

// chunks adds bodies that are put together from the chunks of a valid body.
func (x *refusalList) chunks() {
	three := newPackageBuilder(x.rings.all, "chunked, three chunks", format.UseFile, classify.PHI)
	const sealed = plain.ChunkSize + format.TagSize
	const head = format.HeaderSize + plain.ChunkedSalt + 32
	const end = head + 2*sealed + format.TagSize + 1
	chunk := func(i int) vectors.Part { return vectors.Part{From: head + i*sealed, To: min(head+(i+1)*sealed, end)} }
	start, last := vectors.Part{To: head}, chunk(2)
	add := func(name string, code coded, parts ...vectors.Part) {
		r := x.add("chunked, "+name, three, nil, code)
		r.Package, r.Of, r.Splice = vectors.Data{}, three.name, parts
	}
	flip := func(at, with int) []vectors.Part { // replaces the byte at an offset
		return []vectors.Part{{To: at}, {Hex: vectors.Hex{byte(with)}}, {From: at + 1, To: end}}
	}
	add("reordered", envelope.ErrAuthentication, start, chunk(1), chunk(0), last)
	add("without the first chunk", envelope.ErrAuthentication, start, chunk(1), last)
	add("without the second chunk", envelope.ErrAuthentication, start, chunk(0), last)
	add("a chunk twice", envelope.ErrAuthentication, start, chunk(0), chunk(0), chunk(1), last)
	add("the last chunk alone", envelope.ErrAuthentication, start, last)
	add("extended by the last chunk", envelope.ErrAuthentication, start, chunk(0), chunk(1), last, last)
	add("extended by a whole chunk", envelope.ErrAuthentication, start, chunk(0), chunk(1), last, chunk(0))
	add("extended by a byte", envelope.ErrAuthentication, start, chunk(0), chunk(1), last, vectors.Part{Hex: vectors.Hex{0}})
	add("extended by an empty chunk", envelope.ErrAuthentication, start, chunk(0), chunk(1), vectors.Part{Hex: make(vectors.Hex, 16)})
	add("cut within the second chunk", envelope.ErrAuthentication, vectors.Part{To: head + sealed + 100})
	add("cut by a byte", envelope.ErrAuthentication, vectors.Part{To: end - 1})
	add("cut between chunks", format.ErrMalformed, vectors.Part{To: head + 2*sealed})
	add("cut before the first chunk", format.ErrMalformed, start)
	add("cut within a tag", format.ErrMalformed, vectors.Part{To: head + sealed + 15})
	commitment := vectors.Part{From: format.HeaderSize, To: format.HeaderSize + plain.ChunkedSalt}
	add("another commitment", envelope.ErrAuthentication, vectors.Part{To: commitment.To}, vectors.Part{Hex: draw(32, "another commitment")},
		vectors.Part{From: head, To: end})
	x.flipChunks(flip, add)
	moved := "elsewhere"
	add("moved", envelope.ErrAuthentication, vectors.Part{To: end})
	x.list[len(x.list)-1].Place.Name = &moved
}

func (x *refusalList) flipChunks(flip func(at, with int) []vectors.Part, add func(string, coded, ...vectors.Part)) {
	b := newPackageBuilder(x.rings.all, "chunked, three chunks", format.UseFile, classify.PHI).withValue(format.Bytes, nil).chunked()
	b.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: 2*plain.ChunkSize + 1}
	pkg := b.bytes()
	for _, f := range []struct {
		name string
		at   int
		code coded
	}{
		{"body salt", format.HeaderSize, envelope.ErrAuthentication}, {"commitment, first byte", format.HeaderSize + 24, envelope.ErrAuthentication},
		{"commitment, last byte", format.HeaderSize + 55, envelope.ErrAuthentication}, {"first chunk", format.HeaderSize + 56, envelope.ErrAuthentication},
		{"tag of the second chunk", format.HeaderSize + 56 + 2*(plain.ChunkSize+16) - 1, envelope.ErrAuthentication},
		{"last chunk", len(pkg) - 17, envelope.ErrAuthentication}, {"time", atTime + 7, envelope.ErrAuthentication},
		{"salt", atSalt, envelope.ErrAuthentication}, {"key id", atKeyID, envelope.ErrUnknownKey},
	} {
		add("flipped "+f.name, f.code, flip(f.at, int(pkg[f.at]^1))...)
	}
}

// tooLong adds values that exceed the limit of a package that is not chunked. They are public, so that the vectors can
// describe the bytes by repetition.
func (x *refusalList) tooLong() {
	b := newPackageBuilder(x.rings.all, "refused too long", format.UseStorage, classify.Public).withValue(format.Bytes, nil)
	b.value = vectors.Data{Repeat: vectors.Hex("coffer "), Length: format.MaxValue + 1}
	pkg := b.raw(b.value.Bytes())
	head := format.HeaderSize + format.NonceSize + format.TagSize
	x.add("value of 64 MiB and a byte", b, nil, format.ErrMalformed).Package =
		vectors.Data{Hex: slices.Clone(pkg[:head]), Repeat: b.value.Repeat, Length: len(pkg)}
}

// refusedValues returns packages that open, but have values that a reader must not return as text of its language.
func refusedValues(r *validDocuments) []vectors.Refusal {
	x := &refusalList{rings: r}
	add := func(name string, kind format.ValueType, value string) {
		b := newPackageBuilder(r.all, "value, "+name, format.UseService, classify.PHI).withValue(kind, []byte(value))
		x.add(b.name, b, b.bytes(), format.ErrMalformed)
	}
	for name, text := range ordered("lone byte", "a\xff", "surrogate", "\xed\xa0\x80", "overlong", "\xc0\x80", "cut", "\xf0\x9f\x98", "above 10FFFF", "\xf4\x90\x80\x80") {
		add("text, "+name, format.Text, text)
		add("JSON, "+name, format.JSON, `"`+text+`"`)
	}
	for name, text := range ordered(
		"nothing", "", "byte order mark", "\ufeff1", "cut", `{"a":`, "two values", "1 2", "trailing comma", "[1,]", "comment", "/**/1", "single quotes", "'a'", "NaN", "NaN",
		"leading zero", "01", "line break in a string", "\"a\nb\"", "unknown escape", `"\x41"`, "undefined", "undefined", "no-break space", "\u00a01",
	) {
		add("JSON, "+name, format.JSON, text)
	}
	return x.list
}
