package envelope

import (
	"slices"
	"unicode/utf8"
)

// LabelBackup is the info input of HKDF-SHA256 for the key of a backup's MAC (SPEC.md section 9).
const LabelBackup = "coffer/v1 backup"

// Backup is the header of a backup file (SPEC.md section 9). The file contains copies of the documents of one environment,
// authenticated by a key of its own. Package backup reads such files.
type Backup struct {
	Environment string // environment of all documents
	CreatedAt   int64  // milliseconds since 1970-01-01T00:00:00Z
	Slots       []Slot // slots that open the backup's key, which is their root; all of kind SlotKMS, ascending by ID
}

// BackupMagic begins a backup file. Its last byte is the version.
const BackupMagic = "CFB\x01"

// SlotDocument returns a document of the empty owner that contains the slots of the backup. Use it to add slots to the
// backup, to sign and verify them, and to bind the backup's key, which is wrapped as a root of this document.
func (b *Backup) SlotDocument() *Document {
	return &Document{Environment: b.Environment, Slots: slices.Clone(b.Slots), backup: true}
}

// Append appends the header's encoding to dst. It returns ErrInvalid for a header that Check refuses.
func (b *Backup) Append(dst []byte) ([]byte, error) {
	if err := b.Check(); err != nil {
		return dst, err
	}
	c := codec{write: true, bytes: append(dst, BackupMagic...)}
	c.text(&b.Environment)
	c.int64(&b.CreatedAt)
	list(&c, &b.Slots, MaxSlots, (*Slot).fields)
	return c.bytes, nil
}

// AppendBackupDocument appends the length of an encoded document and the document to dst. An empty document marks the end
// of the documents.
func AppendBackupDocument(dst, document []byte) []byte {
	c := codec{write: true, bytes: dst}
	c.uint(uint64(len(document)), 4)
	c.fixed(document)
	return c.bytes
}

// Check returns ErrInvalid if the header breaks a rule of SPEC.md section 9. It requires MACs but does not verify them.
func (b *Backup) Check() error {
	if len(b.Environment) > MaxEnvironment || !utf8.ValidString(b.Environment) || !validTime(b.CreatedAt) || len(b.Slots) == 0 || len(b.Slots) > MaxSlots {
		return ErrInvalid
	}
	if b.Slots[0].Root.Line != [LineSize]byte{} || b.Slots[0].Root.Generation != 1 {
		return ErrInvalid
	}
	for i := range b.Slots {
		s := &b.Slots[i]
		if s.check() != nil || s.Kind != SlotKMS || s.Root != b.Slots[0].Root || zero(s.MAC[:]) {
			return ErrInvalid
		}
		if i > 0 && string(b.Slots[i-1].ID[:]) >= string(s.ID[:]) {
			return ErrInvalid
		}
	}
	return nil
}
