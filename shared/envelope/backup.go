package envelope

import (
	"encoding/binary"
	"unicode/utf8"
)

// Limits of a backup file.
const (
	MaxBackup = 1 << 30 // bytes
	MACSize   = 32
)

// LabelBackup is HKDF-SHA256's info input for the key of a backup's MAC (SPEC.md section 9.8).
const LabelBackup = "coffer/v1 backup"

// Backup is a copy of the documents of one environment, under a key of its own.
type Backup struct {
	Environment string
	CreatedAt   int64         // milliseconds since 1970-01-01T00:00:00Z
	Slots       []Slot        // the ways to the backup's key, which is their root: SlotKMS, enabled, ascending by ID
	Documents   [][]byte      // encoded, ascending by owner
	MAC         [MACSize]byte // of the content, under the backup's key
}

var backupMagic = [4]byte{'C', 'F', 'B', 1}

// Place is the document of no owner, to which a backup's key is bound as a root is to its owner's.
func (b *Backup) Place() *Document { return &Document{Environment: b.Environment} }

// AppendContent appends the backup's one encoding to dst but for the MAC, which follows it. It returns
// ErrInvalid for a backup that ParseBackup would not read, and ErrTooLarge beyond MaxBackup.
func (b *Backup) AppendContent(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, backupMagic[:]...)
	dst = appendString16(dst, b.Environment)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.CreatedAt))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b.Slots)))
	for i := range b.Slots {
		dst = b.Slots[i].Append(dst)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.Documents)))
	for _, d := range b.Documents {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(d)))
		dst = append(dst, d...)
	}
	if len(dst)-start > MaxBackup-MACSize {
		return dst[:start], ErrTooLarge
	}
	if b.check() != nil {
		return dst[:start], ErrInvalid
	}
	return dst, nil
}

// check holds the backup to SPEC.md section 9.8.
func (b *Backup) check() error {
	if len(b.Environment) > MaxEnvironment || !utf8.ValidString(b.Environment) || !validTime(b.CreatedAt) || len(b.Slots) == 0 || len(b.Slots) > maxSlots {
		return ErrInvalid
	}
	for i := range b.Slots {
		s := &b.Slots[i]
		if s.check() != nil || s.Kind != SlotKMS || s.State != Enabled || s.RootID != b.Slots[0].RootID {
			return ErrInvalid
		}
		if i > 0 && string(b.Slots[i-1].ID[:]) >= string(s.ID[:]) {
			return ErrInvalid
		}
	}
	former := ""
	for _, encoded := range b.Documents {
		d, err := ParseDocument(encoded)
		if err != nil || d.Environment != b.Environment || d.Owner <= former {
			return ErrInvalid
		}
		former = d.Owner
	}
	return nil
}

// ParseBackup reads a whole file, and gives the content that its MAC is of; both alias the file. It returns
// ErrUnsupportedVersion for another version, ErrTooLarge beyond MaxBackup and ErrMalformed for anything else
// that is not a backup. The MAC is for the caller to check, before anything is believed.
func ParseBackup(file []byte) (b *Backup, content []byte, err error) {
	if len(file) > MaxBackup {
		return nil, nil, ErrTooLarge
	}
	if len(file) < 4 || [3]byte(file) != [3]byte(backupMagic[:]) {
		return nil, nil, ErrMalformed
	}
	if file[3] != backupMagic[3] {
		return nil, nil, ErrUnsupportedVersion
	}
	if len(file) < MACSize {
		return nil, nil, ErrMalformed
	}
	content = file[:len(file)-MACSize]
	r := reader{rest: content[min(4, len(content)):]}
	b = &Backup{Environment: string(r.bytes16()), CreatedAt: int64(r.uint(8)), MAC: [MACSize]byte(file[len(content):])}
	for n := r.count(maxSlots); n > 0 && !r.failed; n-- {
		b.Slots = append(b.Slots, r.slot())
	}
	for n := r.uint(4); n > 0 && !r.failed; n-- {
		b.Documents = append(b.Documents, r.take(int(r.uint(4))))
	}
	if r.failed || len(r.rest) > 0 || b.check() != nil {
		return nil, nil, ErrMalformed
	}
	return b, content, nil
}
