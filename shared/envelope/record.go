package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Sizes in bytes.
const (
	MACSize        = 32
	RetiredMACSize = 16 // of a retired slot, the first bytes of the MAC
)

// LabelRecordMAC is HKDF-SHA256's info input for the key that authenticates records (SPEC.md section 4).
const LabelRecordMAC = "coffer/v1 record mac"

// The first part of the messages, so that no record passes for one of another kind.
const (
	labelSlot       = "coffer/v1 slot record"
	labelBackupSlot = "coffer/v1 backup slot record"
	labelRetired    = "coffer/v1 retired slot record"
	labelKey        = "coffer/v1 key record"
	labelPrimary    = "coffer/v1 primary record"
	labelShred      = "coffer/v1 shred record"
)

// Record is one authenticated record of a document.
type Record struct {
	Shred   bool   // a shred record, whose key is the system document's
	Root    Root   // the root whose key authenticates any other record
	Message []byte // the input of the MAC
	MAC     []byte // MACSize or RetiredMACSize bytes, which alias the document; zero if the record was changed since it was signed
}

// Authenticator returns HMAC-SHA256 of a record's message under the key of its root, or of shred records; ok is
// false if it does not have the key.
type Authenticator func(r *Record) (mac [MACSize]byte, ok bool)

// Records yields all records of a document.
func (d *Document) Records(yield func(*Record) bool) {
	d.eachRecord(func(e *recordRef) bool {
		r := &Record{Message: d.message(e), MAC: e.mac}
		if e.root != nil {
			r.Root = *e.root
		} else {
			r.Shred = true
		}
		return yield(r)
	})
}

// message returns what the MAC of a record is of. A backup's slots have a label of their own.
func (d *Document) message(e *recordRef) []byte {
	label := e.label
	if d.backup && label == labelSlot {
		label = labelBackupSlot
	}
	c := codec{write: true, bytes: make([]byte, 0, 256)}
	c.text(&label)
	c.text(&d.Environment)
	c.text(&d.Owner)
	if e.set != nil {
		c.uint8((*uint8)(&e.set.Use))
		c.uint8((*uint8)(&e.set.Class))
	}
	e.record.body(&c)
	return c.bytes
}

// entry is a record in its place in a document.
type recordRef struct {
	label  string
	set    *Keyset // of a key or primary
	root   *Root   // nil of a shred record
	mac    []byte
	record interface{ body(*codec) }
}

// each calls yield with all records, until it returns false. The entry is valid during the call.
func (d *Document) eachRecord(yield func(*recordRef) bool) bool {
	var e recordRef
	for i := range d.Slots {
		s := &d.Slots[i]
		if !yield(e.of(labelSlot, &s.Root, s.MAC[:], s)) {
			return false
		}
	}
	for i := range d.Retired {
		r := &d.Retired[i]
		if !yield(e.of(labelRetired, &r.Root, r.MAC[:], r)) {
			return false
		}
	}
	for i := range d.Shreds {
		s := &d.Shreds[i]
		if !yield(e.of(labelShred, nil, s.MAC[:], s)) {
			return false
		}
	}
	for i := range d.Keysets {
		e.set = &d.Keysets[i]
		for j := range e.set.Primaries {
			p := &e.set.Primaries[j]
			if !yield(e.of(labelPrimary, &p.Root, p.MAC[:], p)) {
				return false
			}
		}
		for j := range e.set.Keys {
			k := &e.set.Keys[j]
			if !yield(e.of(labelKey, &k.Root, k.MAC[:], k)) {
				return false
			}
		}
	}
	return true
}

//go:noinline
func (e *recordRef) of(label string, root *Root, mac []byte, record interface{ body(*codec) }) *recordRef {
	e.label, e.root, e.mac, e.record = label, root, mac, record
	return e
}

// Verify checks the MAC of every record whose key the authenticator has. It returns ErrAuthentication if one is wrong.
func (d *Document) Verify(mac Authenticator) (err error) {
	for r := range d.Records {
		want, ok := mac(r)
		if ok && !equal(want[:len(r.MAC)], r.MAC) {
			return ErrAuthentication
		}
	}
	return nil
}

// equal compares in constant time. It is not crypto/subtle's, which would bring FIPS 140's module into the browser's core.
func equal(a, b []byte) bool {
	var difference byte
	for i := range a {
		difference |= a[i] ^ b[i]
	}
	return difference == 0
}

// Sign makes the MACs of the records that were changed since the document was parsed or signed. It returns ErrInvalid
// if the authenticator lacks the key of one.
func (d *Document) Sign(mac Authenticator) error {
	for r := range d.Records {
		if !zero(r.MAC) {
			continue
		}
		made, ok := mac(r)
		if !ok {
			return ErrInvalid
		}
		copy(r.MAC, made[:])
	}
	return nil
}

// signed reports whether every record has a MAC.
func (d *Document) signed() bool {
	return d.eachRecord(func(e *recordRef) bool { return !zero(e.mac) })
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// Uses of keys that exist in documents only. Their class is 0.
const (
	UseNames  format.Use = 6  // blinded names of records
	UseIndex  format.Use = 7  // blind indexes of fields
	UseTokens format.Use = 8  // tokens; of the system document
	UseShreds format.Use = 9  // shred records; of the system document
	UseAudit  format.Use = 10 // audit chains; of the system document
	maxUse               = UseAudit
)

// validUse reports whether a keyset may be of that use and class.
func validUse(use format.Use, class classify.Class) bool {
	if use >= UseNames {
		return use <= maxUse && class == 0
	}
	return use >= format.UseStorage && class.Valid()
}
