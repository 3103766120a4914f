package envelope

import (
	"slices"
	"unicode/utf8"
)

// LabelBackup is HKDF-SHA256's info input for the key of a backup's MAC (SPEC.md section 9).
const LabelBackup = "coffer/v1 backup"

// Backup is the beginning of a backup file: a copy of the documents of one environment, under a key of its own. Package backup reads it.
type Backup struct {
	Environment string
	CreatedAt   int64  // milliseconds since 1970-01-01T00:00:00Z
	Slots       []Slot // the ways to the backup's key, which is their root: SlotKMS, ascending by ID
}

// BackupMagic begins a backup file; its last byte is the version.
const BackupMagic = "CFB\x01"

// Place is the document of the empty owner, to which a backup's key is bound as a root is to its owner's. Slots that
// are added to it have the MAC of a backup's slots.
func (b *Backup) SlotDocument() *Document {
	return &Document{Environment: b.Environment, Slots: slices.Clone(b.Slots), backup: true}
}

// Append appends the header's one encoding to dst. It returns ErrInvalid for one that Check refuses.
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

// AppendBackupDocument appends one encoded document of a backup; an empty one ends them.
func AppendBackupDocument(dst, document []byte) []byte {
	c := codec{write: true, bytes: dst}
	c.uint(uint64(len(document)), 4)
	c.fixed(document)
	return c.bytes
}

// Check returns ErrInvalid if the header breaks a rule of SPEC.md section 9, MACs aside.
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
