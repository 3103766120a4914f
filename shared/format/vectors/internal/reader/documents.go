package reader

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// DocumentReader reads keyset documents and backups. It implements shared/envelope/SPEC.md as [Reader] implements SPEC.md:
// it shares no code with package envelope, and each of its rules has a name and can be broken.
type DocumentReader struct {
	Broken string          // rule to break; empty to follow every rule
	Asked  map[string]bool // if not nil, collects the rules that were evaluated
}

// keeps reports whether the reader follows the rule.
func (r *DocumentReader) keeps(rule string) bool {
	if r.Asked != nil {
		r.Asked[rule] = true
	}
	return r.Broken != rule
}

// requireCode ends reading with code if the input breaks a rule that the reader follows.
func (r *DocumentReader) requireCode(followed bool, code Code, rule string) {
	if r.keeps(rule) && !followed {
		panic(code)
	}
}

// require ends reading with malformed if the input breaks a rule that the reader follows.
func (r *DocumentReader) require(followed bool, rule string) {
	r.requireCode(followed, malformed, rule)
}

// requireAscending requires that ids are in ascending order and that no id occurs twice.
func (r *DocumentReader) requireAscending(ids []string, rule string) {
	for i := 1; i < len(ids); i++ {
		r.require(ids[i-1] <= ids[i], rule+" ascend")
		r.require(ids[i-1] != ids[i], rule+" differ")
	}
}

// refusal returns the code with which requireCode ended f, or an empty code.
func refusal(f func()) (code Code) {
	defer func() {
		if v := recover(); v != nil {
			code = v.(Code)
		}
	}()
	f()
	return ""
}

// root identifies a root.
type root struct {
	line       string
	generation uint32
	id         string
}

func (a root) String() string {
	return a.line + string(binary.BigEndian.AppendUint32(nil, a.generation)) + a.id
}

// record is a record of any kind. It has only the fields of its kind.
type record struct {
	id, body, mac          string // body is the encoding without the MAC
	root                   root
	kind, state            byte
	at                     uint64
	keyID, salt            string
	iterations, epoch      uint32
	url, parameters, wraps string
}

// Document is a keyset document.
type Document struct {
	Environment, Owner     string
	slots, retired, shreds []record
	keysets                []set
}

type set struct {
	use, class      byte
	primaries, keys []record
}

func (s *set) place() string { return string([]byte{s.use, s.class}) }

// fields decodes fields from an encoding.
type fields struct {
	all string
	at  int
}

func (f *fields) take(n int) string {
	if len(f.all)-f.at < n {
		panic(malformed)
	}
	f.at += n
	return f.all[f.at-n : f.at]
}

func (f *fields) uint(n int) (v uint64) {
	for _, b := range []byte(f.take(n)) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (f *fields) root() root { return root{f.take(16), uint32(f.uint(4)), f.take(32)} }

// sized decodes a field that follows its length.
func (r *DocumentReader) sized(f *fields, limit int, rule string) string {
	n := int(f.uint(2))
	r.require(n <= limit, rule)
	return f.take(n)
}

// root decodes a Root.
func (r *DocumentReader) root(f *fields, of string) root {
	one := f.root()
	r.require(one.generation > 0, "generation of a "+of)
	return one
}

// mac ends a record that began at start.
func (r *DocumentReader) mac(f *fields, one *record, start, size int, of string) {
	one.body = f.all[start:f.at]
	one.mac = f.take(size)
	r.require(strings.Trim(one.mac, "\x00") != "", "MAC of a "+of+" is not zero")
}

const maxDocumentTime = 253402300799999

// slot decodes a slot and checks rules 4 and 5 of section 3.
func (r *DocumentReader) slot(f *fields, signed bool) (s record) {
	start := f.at
	s.id, s.kind, s.at, s.root, s.keyID = f.take(16), byte(f.uint(1)), f.uint(8), r.root(f, "slot"), f.take(32)
	s.salt, s.iterations = f.take(16), uint32(f.uint(4))
	s.url, s.parameters = r.sized(f, 1024, "length of a URL"), r.sized(f, 4096, "length of parameters")
	s.wraps = r.sized(f, 4096, "length of a wrapped root")
	if signed {
		r.mac(f, &s, start, 32, "slot")
	} else {
		s.body, s.mac = f.all[start:f.at], f.take(32)
	}
	r.require(s.at <= maxDocumentTime, "time of a slot")
	r.require(utf8.ValidString(s.url), "URL is text")
	r.require(s.kind != 0, "kind 0")
	if s.kind > recipientSlot {
		return s
	}
	rule := func(text string) string { return fmt.Sprintf("%s of a slot of kind %d", text, s.kind) }
	if s.kind != passwordSlot {
		r.require(strings.Trim(s.salt, "\x00") == "", rule("salt"))
	}
	r.require((s.kind == passwordSlot) == (s.iterations > 0), rule("iterations"))
	r.require((s.kind == kmsSlot) == (s.url != ""), rule("URL"))
	r.require((s.kind == kmsSlot) == (strings.Trim(s.keyID, "\x00") == ""), rule("key id"))
	if s.kind == passwordSlot || s.kind == masterKeySlot || s.kind == kmsSlot {
		r.require(s.parameters == "", rule("parameters"))
	}
	if s.kind == kmsSlot || s.kind == recipientSlot {
		r.require(s.wraps != "", rule("wrapped root"))
	} else {
		r.require(len(s.wraps) == 60, rule("wrapped root"))
	}
	return s
}

// Kinds of slots.
const passwordSlot, masterKeySlot, kmsSlot, recipientSlot = 1, 2, 5, 7

// version checks the magic and the version.
func (r *DocumentReader) version(b, magic string) *fields {
	r.require(strings.HasPrefix(b, magic), "magic "+magic)
	if len(b) < 4 {
		panic(malformed)
	}
	r.requireCode(b[3] == 1, unsupported, "version of "+magic)
	return &fields{b, 4}
}

// ParseSlot reads a slot that is encoded alone.
func (r *DocumentReader) ParseSlot(b []byte) (code Code) {
	return refusal(func() {
		f := &fields{all: string(b)}
		r.slot(f, false)
		r.require(f.at == len(b), "nothing follows a slot")
	})
}

// ParseDocument reads a document.
func (r *DocumentReader) ParseDocument(b []byte) (d *Document, code Code) {
	code = refusal(func() { d = r.document(string(b)) })
	return d, code
}

func (r *DocumentReader) document(b string) *Document {
	r.requireCode(len(b) <= 262144, tooLarge, "size of a document")
	f := r.version(b, "CFK")
	d := &Document{Environment: r.sized(f, 64, "length of an environment"), Owner: r.sized(f, 255, "length of an owner")}
	r.require(utf8.ValidString(d.Environment), "environment is text")
	r.require(utf8.ValidString(d.Owner), "owner is text")
	count := f.uint(2)
	r.require(count <= 256, "count of slots")
	for range count {
		d.slots = append(d.slots, r.slot(f, true))
	}
	r.requireAscending(ids(d.slots), "slots")
	r.groups(f, d)
	r.shreds(f, d)
	for count = f.uint(2); count > 0; count-- {
		d.keysets = append(d.keysets, r.keyset(f))
	}
	var places []string
	for i := range d.keysets {
		places = append(places, d.keysets[i].place())
	}
	r.requireAscending(places, "keysets")
	r.require(f.at == len(b), "nothing follows a document")
	r.void(d)
	return d
}

func ids(records []record) (list []string) {
	for i := range records {
		list = append(list, records[i].id)
	}
	return list
}

// groups reads the retired slots.
func (r *DocumentReader) groups(f *fields, d *Document) {
	var roots []string
	for groups := f.uint(2); groups > 0; groups-- {
		of, count := r.root(f, "group of retired slots"), f.uint(2)
		roots = append(roots, of.String())
		r.require(count > 0, "group of retired slots is not empty")
		first := len(d.retired)
		for range count {
			one := record{root: of, id: f.take(16), mac: f.take(16)}
			one.body = one.id + of.String()
			r.require(strings.Trim(one.mac, "\x00") != "", "MAC of a retired slot is not zero")
			d.retired = append(d.retired, one)
		}
		r.requireAscending(ids(d.retired[first:]), "retired slots")
	}
	r.requireAscending(roots, "groups of retired slots")
	r.require(len(d.retired) <= 4096, "count of retired slots")
}

func (r *DocumentReader) shreds(f *fields, d *Document) {
	count := f.uint(2)
	r.require(count <= 64, "count of shred records")
	for range count {
		start := f.at
		one := record{id: f.take(16), at: f.uint(8)}
		r.mac(f, &one, start, 32, "shred record")
		r.require(one.at <= maxDocumentTime, "time of a shred record")
		d.shreds = append(d.shreds, one)
	}
	r.requireAscending(ids(d.shreds), "shred records")
	r.require(d.Owner != "" || count == 0, "system document has no shred records")
}

func (r *DocumentReader) keyset(f *fields) (s set) {
	s.use, s.class = byte(f.uint(1)), byte(f.uint(1))
	r.require(s.use >= 1 && s.use <= 10, "use of a keyset")
	r.require(s.use > 5 || s.class >= 1 && s.class <= 5, "class of a keyset")
	r.require(s.use <= 5 || s.class == 0, "class of a use of documents")
	count := f.uint(2)
	r.require(count <= 16, "count of primaries")
	primaryOf := map[string]*record{}
	var lines []string
	for range count {
		start := f.at
		one := record{root: r.root(f, "primary"), epoch: uint32(f.uint(4)), keyID: f.take(32)}
		r.mac(f, &one, start, 32, "primary")
		r.require(one.epoch > 0, "epoch of a primary")
		s.primaries, lines, primaryOf[one.root.line] = append(s.primaries, one), append(lines, one.root.line), &one
	}
	r.requireAscending(lines, "primaries")
	count = f.uint(2)
	r.require(count <= 1024, "count of keys")
	r.require(count > 0, "keyset has a key")
	keys := map[string]*record{}
	for range count {
		one := r.key(f)
		s.keys, keys[one.id] = append(s.keys, one), &one
		r.require(primaryOf[one.root.line] != nil, "line of a key has a primary")
	}
	r.requireAscending(ids(s.keys), "keys")
	for i := range s.primaries {
		key := keys[s.primaries[i].keyID]
		r.require(key != nil, "primary names a key")
		r.require(key == nil || key.root.line == s.primaries[i].root.line, "primary names a key of its line")
	}
	return s
}

func (r *DocumentReader) key(f *fields) record {
	start := f.at
	one := record{id: f.take(32), state: byte(f.uint(1)), at: f.uint(8), root: r.root(f, "key"), wraps: f.take(int(f.uint(2)))}
	r.mac(f, &one, start, 32, "key")
	r.require(one.state >= Enabled && one.state <= Destroyed, "state of a key")
	r.require(one.at <= maxDocumentTime, "time of a key")
	r.require(one.state == Destroyed || len(one.wraps) == 60, "wrapped key")
	r.require(one.state != Destroyed || one.wraps == "", "wrapped key of a destroyed key")
	return one
}

// recordsByKind returns the records that name a root, by kind.
func (d *Document) recordsByKind() (kinds [4][]record) {
	kinds = [4][]record{d.slots, d.retired}
	for _, s := range d.keysets {
		kinds[2], kinds[3] = slices.Concat(kinds[2], s.primaries), slices.Concat(kinds[3], s.keys)
	}
	return kinds
}

var kindNames = [4]string{"slots", "retired slots", "primaries", "keys"}

// generations returns the highest generation of each line.
func (r *DocumentReader) generations(d *Document) map[string]uint32 {
	highest := map[string]uint32{}
	for kind, records := range d.recordsByKind() {
		if !r.keeps("generation of " + kindNames[kind]) {
			continue
		}
		for i := range records {
			of := &records[i].root
			highest[of.line] = max(highest[of.line], of.generation)
		}
	}
	return highest
}

// void checks that no record is void (rule 8 of section 3).
func (r *DocumentReader) void(d *Document) {
	shredded, highest, gone := map[string]bool{}, r.generations(d), map[string]bool{}
	for i := range d.shreds {
		shredded[d.shreds[i].id] = true
	}
	for i := range d.retired {
		gone[d.retired[i].body] = true
	}
	for kind, records := range d.recordsByKind() {
		for i := range records {
			of := records[i].root
			r.require(!shredded[of.line], []string{"slots", "retired slots", "keysets", "keysets"}[kind]+" of a shredded line")
			if kind < 2 {
				r.require(of.generation >= highest[of.line], kindNames[kind]+" of a replaced root")
			}
			if kind == 0 {
				r.require(!gone[records[i].id+of.String()], "slot that was retired")
			}
		}
	}
}

// Bytes returns the encoding of the document.
func (d *Document) Bytes() []byte {
	b := append([]byte("CFK\x01"), sized(sized(nil, []byte(d.Environment)), []byte(d.Owner))...)
	b = list(b, d.slots)
	var groups []byte
	count := 0
	for left := d.retired; len(left) > 0; count++ {
		n := 0
		for n < len(left) && left[n].root == left[0].root {
			n++
		}
		groups = binary.BigEndian.AppendUint16(append(groups, left[0].root.String()...), uint16(n))
		for i := range left[:n] {
			groups = append(append(groups, left[i].id...), left[i].mac...)
		}
		left = left[n:]
	}
	b = append(binary.BigEndian.AppendUint16(b, uint16(count)), groups...)
	b = list(b, d.shreds)
	b = binary.BigEndian.AppendUint16(b, uint16(len(d.keysets)))
	for i := range d.keysets {
		b = list(list(append(b, d.keysets[i].place()...), d.keysets[i].primaries), d.keysets[i].keys)
	}
	return b
}

func list(b []byte, records []record) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(records)))
	for i := range records {
		b = append(append(b, records[i].body...), records[i].mac...)
	}
	return b
}
