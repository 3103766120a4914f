package envelope

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"unicode/utf8"
)

// LabelBackup is HKDF-SHA256's info input for the key of a backup's MAC (SPEC.md section 9).
const LabelBackup = "coffer/v1 backup"

// Backup is the beginning of a backup file: a copy of the documents of one environment, under a key of its own.
type Backup struct {
	Environment string
	CreatedAt   int64  // milliseconds since 1970-01-01T00:00:00Z
	Slots       []Slot // the ways to the backup's key, which is their root: SlotKMS, ascending by ID
}

var backupMagic = [4]byte{'C', 'F', 'B', 1}

// Place is the document of the empty owner, to which a backup's key is bound as a root is to its owner's. Slots that
// are added to it have the MAC of a backup's slots.
func (b *Backup) Place() *Document {
	return &Document{Environment: b.Environment, Slots: slices.Clone(b.Slots), backup: true}
}

// Append appends the header's one encoding to dst. It returns ErrInvalid for one that OpenBackup would not read.
func (b *Backup) Append(dst []byte) ([]byte, error) {
	if b.check() != nil {
		return dst, ErrInvalid
	}
	dst = append(dst, backupMagic[:]...)
	dst = appendString16(dst, b.Environment)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.CreatedAt))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b.Slots)))
	for i := range b.Slots {
		dst = b.Slots[i].Append(dst)
	}
	return dst, nil
}

// AppendBackupDocument appends one encoded document of a backup; an empty one ends them.
func AppendBackupDocument(dst, document []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(document))), document...)
}

func (b *Backup) check() error {
	if len(b.Environment) > MaxEnvironment || !utf8.ValidString(b.Environment) || !validTime(b.CreatedAt) || len(b.Slots) == 0 || len(b.Slots) > maxSlots {
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

// BackupReader reads a backup file of any size in constant memory.
type BackupReader struct {
	Backup
	in      *bufio.Reader
	content io.Writer
	header  []byte
	buffer  []byte
	begun   bool // a document was read
}

// OpenBackup reads the header of a backup file. It returns ErrUnsupportedVersion for another version, ErrMalformed
// for anything else that is not a backup, and the reader's own errors.
func OpenBackup(r io.Reader) (*BackupReader, error) {
	b := &BackupReader{in: bufio.NewReaderSize(r, 64<<10), content: io.Discard}
	magic, err := b.take(4)
	if err != nil {
		return nil, err
	}
	if [3]byte(magic) != [3]byte(backupMagic[:]) {
		return nil, ErrMalformed
	}
	if magic[3] != backupMagic[3] {
		return nil, ErrUnsupportedVersion
	}
	b.header = append(b.header, magic...)
	if err := b.readHeader(); err != nil {
		return nil, err
	}
	if b.check() != nil {
		return nil, ErrMalformed
	}
	return b, nil
}

func (b *BackupReader) readHeader() error {
	part := func(n int) (*reader, error) {
		bytes, err := b.take(n)
		b.header = append(b.header, bytes...)
		return &reader{rest: slices.Clone(bytes)}, err
	}
	text := func(limit int) (string, error) {
		r, err := part(2)
		n := int(r.uint(2))
		if err != nil || n > limit {
			return "", errors.Join(err, malformedIf(err == nil))
		}
		r, err = part(n)
		return string(r.rest), err
	}
	var err error
	if b.Environment, err = text(MaxEnvironment); err != nil {
		return err
	}
	r, err := part(10)
	if err != nil {
		return err
	}
	b.CreatedAt = int64(r.uint(8))
	for n := r.count(maxSlots); n > 0; n-- {
		s, err := b.readSlot()
		if err != nil {
			return err
		}
		b.header = s.Append(b.header)
		b.Slots = append(b.Slots, s)
	}
	return malformedIf(r.failed)
}

func malformedIf(bad bool) error {
	if bad {
		return ErrMalformed
	}
	return nil
}

// slotHead is the size of a slot's fields before the first that has a length.
const slotHead = 16 + 1 + 8 + RootSize + 32 + 16 + 4

func (b *BackupReader) readSlot() (Slot, error) {
	encoded, err := b.take(slotHead)
	encoded = slices.Clone(encoded)
	for _, limit := range []int{MaxURL, MaxParameters, MaxWrapped} {
		if err != nil {
			return Slot{}, err
		}
		var length, field []byte
		if length, err = b.take(2); err != nil {
			return Slot{}, err
		}
		n := int(binary.BigEndian.Uint16(length))
		if n > limit {
			return Slot{}, ErrMalformed
		}
		encoded = binary.BigEndian.AppendUint16(encoded, uint16(n))
		field, err = b.take(n)
		encoded = append(encoded, field...)
	}
	if err != nil {
		return Slot{}, err
	}
	mac, err := b.take(MACSize)
	if err != nil {
		return Slot{}, err
	}
	return ParseSlot(append(encoded, mac...))
}

// Tee has everything before the MAC written to a hash, which never fails. It must be called before Next, if at all.
func (b *BackupReader) Tee(content io.Writer) {
	b.content = content
	_, _ = content.Write(b.header)
}

// Next returns the next document, which is valid until the next call, and io.EOF after the last one. It returns
// ErrMalformed for a file that is cut short, for a document of another environment, and for a system document that is not the first.
func (b *BackupReader) Next() (*Document, error) {
	head, err := b.take(4)
	if err != nil {
		return nil, err
	}
	_, _ = b.content.Write(head)
	n := binary.BigEndian.Uint32(head)
	if n == 0 {
		return nil, io.EOF
	}
	if n > MaxDocument {
		return nil, ErrMalformed
	}
	encoded, err := b.take(int(n))
	if err != nil {
		return nil, err
	}
	_, _ = b.content.Write(encoded)
	d, err := ParseDocument(encoded)
	if err != nil || d.Environment != b.Environment || b.begun && d.Owner == "" {
		return nil, ErrMalformed
	}
	b.begun = true
	return d, nil
}

// MAC returns the MAC at the end, after Next has returned io.EOF. It returns ErrMalformed if something follows it.
func (b *BackupReader) MAC() (mac [MACSize]byte, err error) {
	last, err := b.take(MACSize)
	if err != nil {
		return mac, err
	}
	copy(mac[:], last)
	if _, err := b.in.ReadByte(); err != io.EOF {
		return mac, errors.Join(err, malformedIf(err == nil))
	}
	return mac, nil
}

// take reads n bytes, valid until the next call.
func (b *BackupReader) take(n int) ([]byte, error) {
	if cap(b.buffer) < n {
		b.buffer = make([]byte, n)
	}
	b.buffer = b.buffer[:n]
	_, err := io.ReadFull(b.in, b.buffer)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrMalformed
	}
	return b.buffer, err
}
