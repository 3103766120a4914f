package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// backupBuilder builds a backup file.
type backupBuilder struct {
	backup    envelope.Backup
	documents [][]byte
	ring      *documentBuilder // builds the slots and keeps their secrets
	key       []byte
	names     []string
}

// newBackup returns a builder for a backup of documents of one environment, with one slot for each of keks KEKs.
func newBackup(name, environment string, keks int, documents ...*documentBuilder) *backupBuilder {
	c := &backupBuilder{ring: newDocumentBuilder("backup "+name, environment, "")}
	c.ring.doc = *(&envelope.Backup{Environment: environment}).SlotDocument()
	root := c.ring.root("")
	c.ring.names[root] = envelope.Root{Generation: 1, ID: root}
	c.key = c.ring.roots[root]
	for i := range keks {
		c.ring.slot(fmt.Sprint("kek ", i), envelope.SlotKMS, root, "", 0)
	}
	c.backup = envelope.Backup{Environment: environment, CreatedAt: startTime + 3_600_000, Slots: c.ring.doc.Slots}
	for _, r := range documents {
		c.documents, c.names = append(c.documents, r.bytes()), append(c.names, r.name)
	}
	return c
}

// content returns the file without its MAC.
func (c *backupBuilder) content() []byte { return c.with(c.documents...) }

func (c *backupBuilder) with(documents ...[]byte) []byte {
	content := must(c.backup.Append(nil))
	for _, d := range documents {
		content = envelope.AppendBackupDocument(content, d)
	}
	return envelope.AppendBackupDocument(content, nil)
}

func (c *backupBuilder) bytes() []byte { return c.sealed(c.content()) }

// sealed returns content followed by its MAC.
func (c *backupBuilder) sealed(content []byte) []byte {
	return append(slices.Clone(content), plain.BackupMAC(c.key, content)...)
}

func (c *backupBuilder) kek(i int) vectors.Secret {
	return *c.ring.secrets[c.backup.Slots[i].ID].secret
}

func (c *backupBuilder) vector(name string) vectors.Backup {
	id := plain.KeyID(c.key)
	v := vectors.Backup{
		Name: name, Bytes: c.bytes(), Environment: c.backup.Environment, CreatedAt: c.backup.CreatedAt,
		Key: c.key, KeyID: id[:], MAC: plain.BackupMAC(c.key, c.content()), Documents: c.names,
	}
	for i := range c.backup.Slots {
		v.KEKs = append(v.KEKs, c.kek(i))
	}
	return v
}

func backups(r *validDocuments) vectors.BackupVectors {
	none := newBackup("none", "test", 1)
	prod := newBackup("prod", "prod", 2, append([]*documentBuilder{r.system}, r.lives...)...)
	return vectors.BackupVectors{
		Backups:  []vectors.Backup{none.vector("no documents"), prod.vector("two KEKs")},
		Invalid:  badBackups(r),
		Refusals: refusedBackups(r),
	}
}

// badBackups returns files that each break one rule of a backup, under a correct MAC.
func badBackups(r *validDocuments) (list []vectors.Malformed) {
	base := func() *backupBuilder { return newBackup("bad", "prod", 2, r.lives[0], r.lives[1]) }
	whole := base().bytes()
	bad := func(name string, b []byte, code coded) {
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: b}, Code: code.Code()})
	}
	malformed := envelope.ErrMalformed
	slots := 4 + 2 + len("prod") + 8
	documents := slots + 2 + 2*len(base().backup.Slots[0].Append(nil))
	for _, n := range []int{0, 3, 4, 31, 36, slots, slots + 2, slots + 200, documents, documents + 4, documents + 8, len(whole) - 36, len(whole) - 33, len(whole) - 1} {
		bad(fmt.Sprintf("cut to %d bytes", n), whole[:n], malformed)
	}
	bad("trailing byte", append(slices.Clone(whole), 0), malformed)
	bad("a keyset document", r.lives[0].bytes(), malformed)
	bad("version 2", setAll(whole, map[int]byte{3: 2}), envelope.ErrUnsupportedVersion)
	edit := func(name string, offset int, with ...byte) {
		c := base()
		content := c.content()
		copy(content[offset:], with)
		bad(name, c.sealed(content), malformed)
	}
	edit("environment, not UTF-8", 6, 0xFF)
	edit("another environment than the documents'", 6, 'P')
	edit("made after 9999", slots-8, 0, 0, 0xE6, 0x77, 0xD2, 0x1F, 0xDC, 0)
	edit("257 slots", slots, 1, 1)
	edit("no slots", slots, 0, 0)
	edit("slot of a master key", slots+2+16, byte(envelope.SlotMasterKey))
	edit("slots out of order", slots+2, 0xFF)
	edit("slots of two keys", slots+2+45, base().backup.Slots[0].Root.ID[0]^1)
	edit("document longer than the file", documents, 0xFF, 0xFF, 0xFF, 0xFF)
	edit("document of 262145 bytes", documents, 0, 4, 0, 1)
	edit("malformed document", documents+4, 'c')
	edit("another magic", 2, 'C')
	return slices.Concat(list, rebuiltBadBackups(r), longEnvironmentBackups())
}

// rebuiltBadBackups returns files that break a rule of the slots or the order of documents, although each record is valid.
func rebuiltBadBackups(r *validDocuments) (list []vectors.Malformed) {
	add := func(name string, slots, documents [][]byte) {
		c := newBackup("built", "prod", 1)
		head := must(c.backup.Append(nil))
		head = head[:len(head)-2-len(c.backup.Slots[0].Append(nil))]
		content := append(slices.Clone(head), counted(slots)...)
		for _, d := range documents {
			content = envelope.AppendBackupDocument(content, d)
		}
		bytes := c.sealed(envelope.AppendBackupDocument(content, nil))
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: bytes}, Code: envelope.ErrMalformed.Code()})
	}
	change := func(change func(s *envelope.Slot)) [][]byte {
		s := newBackup("built", "prod", 1).backup.Slots[0]
		change(&s)
		return [][]byte{s.Append(nil)}
	}
	add("a backup without slots", nil, nil)
	add("one slot of a backup too many", some(257, func(n int) []byte { return someSlot(n, envelope.Root{Generation: 1, ID: numbered(1)}) }), nil)
	add("recipient slot of a backup", change(func(s *envelope.Slot) { s.Kind, s.URL, s.KeyID = envelope.SlotRecipient, "", numbered(1) }), nil)
	add("slot of a backup in a line", change(func(s *envelope.Slot) { s.Root.Line[15] = 1 }), nil)
	add("slot of a backup of generation 2", change(func(s *envelope.Slot) { s.Root.Generation = 2 }), nil)
	add("slot of a backup without a MAC", change(func(s *envelope.Slot) { s.MAC = [envelope.MACSize]byte{} }), nil)
	add("two slots of one id", slices.Concat(change(func(*envelope.Slot) {}), change(func(*envelope.Slot) {})), nil)
	same := change(func(*envelope.Slot) {})
	add("system document after another", same, [][]byte{r.lives[0].bytes(), r.system.bytes()})
	add("system document twice", same, [][]byte{r.system.bytes(), r.system.bytes()})
	return list
}

// refusedBackups returns files that parse, but that a reader must refuse.
func refusedBackups(r *validDocuments) (list []vectors.BackupRefusal) {
	one, other := newBackup("one", "prod", 1, r.lives[0], r.lives[2]), newBackup("other", "prod", 1, r.lives[1])
	in := func(environment, name string, b []byte, kek vectors.Secret, code coded) {
		list = append(list, vectors.BackupRefusal{Name: name, Environment: environment, Bytes: b, KEK: kek, Code: code.Code()})
	}
	add := func(name string, b []byte, kek vectors.Secret, code coded) { in("prod", name, b, kek, code) }
	whole := one.bytes()
	end := len(whole) - envelope.MACSize
	authentication := envelope.ErrAuthentication
	add("another KEK", whole, other.kek(0), envelope.ErrWrongSecret)
	in("test", "a backup of another environment", whole, one.kek(0), envelope.ErrInvalid)
	add("MAC changed", setAll(whole, map[int]byte{len(whole) - 1: whole[len(whole)-1] ^ 1}), one.kek(0), authentication)
	add("time changed", setAll(whole, map[int]byte{17: whole[17] ^ 1}), one.kek(0), authentication)
	add("MAC of another backup", slices.Concat(whole[:end], other.backupMAC()), one.kek(0), authentication)
	add("a document's last MAC changed", setAll(whole, map[int]byte{end - 5: whole[end-5] ^ 1}), one.kek(0), authentication)
	add("a document of another backup", slices.Concat(one.with(one.documents[0], other.documents[0]), whole[end:]), one.kek(0), authentication)
	add("a document left out", slices.Concat(one.with(one.documents[0]), whole[end:]), one.kek(0), authentication)
	add("documents exchanged", slices.Concat(one.with(one.documents[1], one.documents[0]), whole[end:]), one.kek(0), authentication)
	two := newBackup("two", "prod", 2)
	two.backup.Slots[1].MAC[0] ^= 1
	add("MAC of the last slot changed", two.bytes(), two.kek(0), authentication)
	swapped := *one
	swapped.backup.Slots = other.backup.Slots
	add("the slots of another backup", one.sealed(swapped.content()), other.kek(0), authentication)
	moved := newBackup("one", "test", 1)
	moved.backup.Environment = "prod"
	add("key of another environment", moved.bytes(), moved.kek(0), authentication)
	resigned := newBackup("slot record", "prod", 1)
	resigned.ring.doc = envelope.Document{Environment: "prod", Slots: resigned.ring.doc.Slots}
	resigned.ring.resign()
	resigned.backup.Slots = resigned.ring.doc.Slots
	add("slot with the MAC of a document's slot", resigned.bytes(), resigned.kek(0), authentication)
	return list
}

// longEnvironmentBackups returns backups without documents, with environments at and over the limit.
func longEnvironmentBackups() (list []vectors.Malformed) {
	for _, one := range []struct{ name, environment string }{
		{"environment alone, not UTF-8", "\xff"}, {"environment of 65 bytes", strings.Repeat("e", 65)},
	} {
		c := newBackup("environment", "prod", 1)
		content := c.content()
		content = slices.Concat(content[:4], entries(one.environment), content[4+2+len("prod"):])
		list = append(list, vectors.Malformed{Name: one.name, Bytes: vectors.Data{Hex: c.sealed(content)}, Code: envelope.ErrMalformed.Code()})
	}
	return list
}

func (c *backupBuilder) backupMAC() []byte { return plain.BackupMAC(c.key, c.content()) }
