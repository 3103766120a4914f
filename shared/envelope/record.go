package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Sizes of record MACs in bytes (SPEC.md section 4).
const (
	MACSize        = 32 // HMAC-SHA256
	RetiredMACSize = 16 // MAC of a retired slot, truncated to its first bytes
)

// LabelRecordMAC is the info input of HKDF-SHA256 for the key that authenticates records (SPEC.md section 4).
const LabelRecordMAC = "coffer/v1 record mac"

// Labels that begin the MAC messages, so that the MAC of one kind of record is not valid for another kind.
const (
	labelSlot       = "coffer/v1 slot record"
	labelBackupSlot = "coffer/v1 backup slot record"
	labelRetired    = "coffer/v1 retired slot record"
	labelKey        = "coffer/v1 key record"
	labelPrimary    = "coffer/v1 primary record"
	labelShred      = "coffer/v1 shred record"
)

// Record is an authenticated record of a document, with the input of its MAC.
type Record struct {
	Shred   bool   // whether this is a shred record, which the system document's key of UseShreds authenticates
	Root    Root   // root that authenticates the record; zero for a shred record
	Message []byte // input of the MAC
	MAC     []byte // MACSize or RetiredMACSize bytes that alias the document; all zero if the record is not signed
}

// Authenticator computes HMAC-SHA256 of a record's message, under the MAC key of the record's root or the key of shred
// records. It returns false if it does not have that key.
type Authenticator func(r *Record) (mac [MACSize]byte, ok bool)

// Records iterates over all records of a document.
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

// message returns the input of a record's MAC. The slots of a backup have their own label.
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

// recordRef refers to a record in a document.
type recordRef struct {
	label  string
	set    *Keyset // keyset of a key or primary; ignored for other records
	root   *Root   // nil for a shred record
	mac    []byte
	record interface{ body(*codec) }
}

// eachRecord calls yield with each record until yield returns false, and returns false if it did. The recordRef is valid
// only during the call.
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

// Verify checks the MAC of every record whose key the authenticator has. It returns ErrAuthentication if a MAC is wrong.
func (d *Document) Verify(mac Authenticator) (err error) {
	for r := range d.Records {
		want, ok := mac(r)
		if ok && !equal(want[:len(r.MAC)], r.MAC) {
			return ErrAuthentication
		}
	}
	return nil
}

// equal compares two slices of equal length in constant time. crypto/subtle would add the FIPS 140 module to the browser's
// core.
func equal(a, b []byte) bool {
	var difference byte
	for i := range a {
		difference |= a[i] ^ b[i]
	}
	return difference == 0
}

// Sign computes the missing MACs, which are those of records that were added or changed. It returns ErrInvalid if the
// authenticator does not have the key of such a record.
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

// Uses of keys that documents contain, but that do not seal packages. Their class is 0.
const (
	UseNames  format.Use = 6  // blinding the names of records
	UseIndex  format.Use = 7  // blind indexes of database fields
	UseTokens format.Use = 8  // authenticating tokens; in the system document
	UseShreds format.Use = 9  // authenticating shred records; in the system document
	UseAudit  format.Use = 10 // authenticating audit chains; in the system document
	maxUse               = UseAudit
)

// validUse reports whether a keyset may have the use and class.
func validUse(use format.Use, class classify.Class) bool {
	if use >= UseNames {
		return use <= maxUse && class == 0
	}
	return use >= format.UseStorage && class.Valid()
}
