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
	for i := range d.Slots {
		s := &d.Slots[i]
		if !yield(&Record{Root: s.Root, Message: s.appendBody(d.message(labelSlot)), MAC: s.MAC[:]}) {
			return
		}
	}
	for i := range d.Retired {
		r := &d.Retired[i]
		message := r.Root.Append(append(d.message(labelRetired), r.ID[:]...))
		if !yield(&Record{Root: r.Root, Message: message, MAC: r.MAC[:]}) {
			return
		}
	}
	for i := range d.Shreds {
		s := &d.Shreds[i]
		if !yield(&Record{Shred: true, Message: s.appendBody(d.message(labelShred)), MAC: s.MAC[:]}) {
			return
		}
	}
	for i := range d.Keysets {
		if !d.keysetRecords(&d.Keysets[i], yield) {
			return
		}
	}
}

func (d *Document) keysetRecords(s *Keyset, yield func(*Record) bool) bool {
	for i := range s.Primaries {
		p := &s.Primaries[i]
		message := p.appendBody(append(d.message(labelPrimary), byte(s.Use), byte(s.Class)))
		if !yield(&Record{Root: p.Root, Message: message, MAC: p.MAC[:]}) {
			return false
		}
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		message := k.appendBody(append(d.message(labelKey), byte(s.Use), byte(s.Class)))
		if !yield(&Record{Root: k.Root, Message: message, MAC: k.MAC[:]}) {
			return false
		}
	}
	return true
}

// message begins a message with the label and the document's place. A backup's slots have a label of their own.
func (d *Document) message(label string) []byte {
	if d.backup && label == labelSlot {
		label = labelBackupSlot
	}
	b := make([]byte, 0, 256)
	return appendString16(appendString16(appendString16(b, label), d.Environment), d.Owner)
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
	for i := range d.Slots {
		if zero(d.Slots[i].MAC[:]) {
			return false
		}
	}
	for i := range d.Retired {
		if zero(d.Retired[i].MAC[:]) {
			return false
		}
	}
	for i := range d.Shreds {
		if zero(d.Shreds[i].MAC[:]) {
			return false
		}
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for j := range s.Primaries {
			if zero(s.Primaries[j].MAC[:]) {
				return false
			}
		}
		for j := range s.Keys {
			if zero(s.Keys[j].MAC[:]) {
				return false
			}
		}
	}
	return true
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
