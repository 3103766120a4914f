package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// copied is a backup being made.
type copied struct {
	backup envelope.Backup
	ring   *ring // draws its key, wraps it and knows what opens its slots
	key    []byte
	names  []string
}

// newBackup makes a backup of documents of one environment, whose key is wrapped by some KEKs.
func newBackup(name, environment string, keks int, documents ...*ring) *copied {
	c := &copied{ring: newRing("backup "+name, environment, "")}
	root := c.ring.root("")
	c.key = c.ring.roots[root]
	for i := range keks {
		c.addSlot(fmt.Sprint("kek ", i), root)
	}
	slices.SortFunc(documents, func(a, b *ring) int { return strings.Compare(a.doc.Owner, b.doc.Owner) })
	c.backup = envelope.Backup{Environment: environment, CreatedAt: t0 + 3_600_000, Slots: c.ring.doc.Slots}
	for _, r := range documents {
		c.backup.Documents, c.names = append(c.backup.Documents, r.bytes()), append(c.names, r.name)
	}
	return c
}

func (c *copied) addSlot(label string, root format.KeyID) {
	c.ring.slot(label, envelope.SlotKMS, root, "", 0)
}

func (c *copied) content() []byte { return must(c.backup.AppendContent(nil)) }

func (c *copied) bytes() []byte { return c.sealed(c.content()) }

// sealed is a content with its MAC.
func (c *copied) sealed(content []byte) []byte {
	return append(slices.Clone(content), plain.BackupMAC(c.key, content)...)
}

func (c *copied) kek(i int) vectors.Secret { return *c.ring.secrets[c.backup.Slots[i].ID].secret }

func (c *copied) vector(name string) vectors.Backup {
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

func backups(r *rings) vectors.Backups {
	none := newBackup("none", "test", 1)
	prod := newBackup("prod", "prod", 2, r.lives...)
	return vectors.Backups{
		Backups:  []vectors.Backup{none.vector("no documents"), prod.vector("two KEKs")},
		Invalid:  badBackups(r),
		Refusals: refusedBackups(r),
	}
}

// badBackups breaks each rule of a backup, under a MAC that is right.
func badBackups(r *rings) (list []vectors.Malformed) {
	base := func() *copied { return newBackup("bad", "prod", 2, r.lives[0], r.lives[1]) }
	whole := base().bytes()
	bad := func(name string, b []byte, code coded) {
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: b}, Code: code.Code()})
	}
	malformed := envelope.ErrMalformed
	slots := 4 + 2 + len("prod") + 8
	documents := slots + 2 + 2*len(base().backup.Slots[0].Append(nil))
	for _, n := range []int{0, 3, 4, 31, 36, slots, slots + 2, documents, documents + 4, documents + 8, len(whole) - 33, len(whole) - 1} {
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
	edit("slots of two keys", slots+2+26, 0, 0, 0)
	edit("fewer documents than there are", documents, 0, 0, 0, 1)
	edit("more documents than there are", documents, 0, 0, 0, 3)
	edit("document longer than the file", documents+4, 0xFF, 0xFF, 0xFF, 0xFF)
	edit("malformed document", documents+8, 'c')
	return append(list, rebuiltBackups(base())...)
}

// rebuiltBackups is what needs its documents in another order.
func rebuiltBackups(c *copied) (list []vectors.Malformed) {
	a, b := c.backup.Documents[0], c.backup.Documents[1]
	head := c.content()
	head = head[:len(head)-len(a)-len(b)-8]
	add := func(name string, documents ...[]byte) {
		content := slices.Clone(head)
		binary.BigEndian.PutUint32(content[len(content)-4:], uint32(len(documents)))
		for _, d := range documents {
			content = append(binary.BigEndian.AppendUint32(content, uint32(len(d))), d...)
		}
		list = append(list, vectors.Malformed{Name: name, Bytes: vectors.Data{Hex: c.sealed(content)}, Code: envelope.ErrMalformed.Code()})
	}
	add("documents out of order", b, a)
	add("document twice", a, a)
	return list
}

// refusedBackups is files that parse and are not to be believed.
func refusedBackups(r *rings) (list []vectors.BackupRefusal) {
	one, other := newBackup("one", "prod", 1, r.lives[0], r.lives[2]), newBackup("other", "prod", 1, r.lives[1])
	add := func(name string, b []byte, kek vectors.Secret, code coded) {
		list = append(list, vectors.BackupRefusal{Name: name, Bytes: b, KEK: kek, Code: code.Code()})
	}
	whole := one.bytes()
	end := len(whole) - envelope.MACSize
	authentication := envelope.ErrAuthentication
	add("another KEK", whole, other.kek(0), envelope.ErrWrongSecret)
	add("MAC changed", setAll(whole, map[int]byte{len(whole) - 1: whole[len(whole)-1] ^ 1}), one.kek(0), authentication)
	add("time changed", setAll(whole, map[int]byte{17: whole[17] ^ 1}), one.kek(0), authentication)
	add("MAC of another backup", slices.Concat(whole[:end], other.backupMAC()), one.kek(0), authentication)
	add("a document's wrapped key changed", setAll(whole, map[int]byte{end - 1: whole[end-1] ^ 1}), one.kek(0), authentication)
	mixed := one.backup
	mixed.Documents = append(slices.Clone(mixed.Documents[:1]), other.backup.Documents[0])
	add("a document of another backup", slices.Concat(must(mixed.AppendContent(nil)), whole[end:]), one.kek(0), authentication)
	short := one.backup
	short.Documents = short.Documents[:1]
	add("a document left out", slices.Concat(must(short.AppendContent(nil)), whole[end:]), one.kek(0), authentication)
	swapped := one.backup
	swapped.Slots = other.backup.Slots
	add("the slots of another backup", one.sealed(must(swapped.AppendContent(nil))), other.kek(0), authentication)
	moved := newBackup("one", "prod", 1)
	moved.backup.Environment = "test"
	add("key of another environment", moved.bytes(), moved.kek(0), authentication)
	return list
}

func (c *copied) backupMAC() []byte { return plain.BackupMAC(c.key, c.content()) }
