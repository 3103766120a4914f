// Package backup reads backup files (shared/envelope/SPEC.md section 9). It is apart from package envelope because the
// browser's core reads none, and buffered input would make it larger.
package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// Reader reads a backup file of any size in constant memory.
type Reader struct {
	envelope.Backup
	in      *bufio.Reader
	content io.Writer
	header  []byte
	buffer  []byte
	begun   bool // a document was read
}

// Open reads the header of a backup file. It returns envelope.ErrUnsupportedVersion for another version, ErrMalformed
// for anything else that is not a backup, and the reader's own errors.
func Open(r io.Reader) (*Reader, error) {
	b := &Reader{in: bufio.NewReaderSize(r, 64<<10), content: io.Discard}
	const magic = envelope.BackupMagic
	begin, err := b.next(len(magic))
	if err != nil {
		return nil, err
	}
	if string(begin[:3]) != magic[:3] {
		return nil, envelope.ErrMalformed
	}
	if begin[3] != magic[3] {
		return nil, envelope.ErrUnsupportedVersion
	}
	if err := b.readHeader(); err != nil {
		return nil, err
	}
	if b.Check() != nil {
		return nil, envelope.ErrMalformed
	}
	return b, nil
}

func (b *Reader) readHeader() error {
	environment, err := b.field(envelope.MaxEnvironment)
	if err != nil {
		return err
	}
	b.Environment = string(environment)
	numbers, err := b.next(10)
	if err != nil {
		return err
	}
	b.CreatedAt = int64(binary.BigEndian.Uint64(numbers))
	count := int(binary.BigEndian.Uint16(numbers[8:]))
	if count > envelope.MaxSlots {
		return envelope.ErrMalformed
	}
	for range count {
		s, err := b.readSlot()
		if err != nil {
			return err
		}
		b.Slots = append(b.Slots, s)
	}
	return nil
}

// slotHead is the size of a slot's fields before the first that has a length.
const slotHead = 16 + 1 + 8 + envelope.RootSize + 32 + 16 + 4

func (b *Reader) readSlot() (envelope.Slot, error) {
	start := len(b.header)
	_, err := b.next(slotHead)
	for _, limit := range []int{envelope.MaxURL, envelope.MaxParameters, envelope.MaxWrapped} {
		if err == nil {
			_, err = b.field(limit)
		}
	}
	if err == nil {
		_, err = b.next(envelope.MACSize)
	}
	if err != nil {
		return envelope.Slot{}, err
	}
	return envelope.ParseSlot(b.header[start:])
}

// field reads a field of the header that has a 16-bit length.
func (b *Reader) field(limit int) ([]byte, error) {
	length, err := b.next(2)
	if err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length))
	if n > limit {
		return nil, envelope.ErrMalformed
	}
	return b.next(n)
}

// next reads n bytes of the header, valid until the next call, and keeps them for Tee.
func (b *Reader) next(n int) ([]byte, error) {
	bytes, err := b.take(n)
	b.header = append(b.header, bytes...)
	return bytes, err
}

// Tee has everything before the MAC written to a hash, which never fails. It must be called before Next, if at all.
func (b *Reader) Tee(content io.Writer) {
	b.content = content
	_, _ = content.Write(b.header)
}

// Next returns the next document, which is valid until the next call, and io.EOF after the last one. It returns
// envelope.ErrMalformed for a file that is cut short, for a document of another environment, and for a system document that is not the first.
func (b *Reader) Next() (*envelope.Document, error) {
	head, err := b.take(4)
	if err != nil {
		return nil, err
	}
	_, _ = b.content.Write(head)
	n := binary.BigEndian.Uint32(head)
	if n == 0 {
		return nil, io.EOF
	}
	if n > envelope.MaxDocument {
		return nil, envelope.ErrMalformed
	}
	encoded, err := b.take(int(n))
	if err != nil {
		return nil, err
	}
	_, _ = b.content.Write(encoded)
	d, err := envelope.ParseDocument(encoded)
	if err != nil || d.Environment != b.Environment || b.begun && d.Owner == "" {
		return nil, envelope.ErrMalformed
	}
	b.begun = true
	return d, nil
}

// MAC returns the MAC at the end, after Next has returned io.EOF. It returns envelope.ErrMalformed if something follows it.
func (b *Reader) MAC() (mac [envelope.MACSize]byte, err error) {
	last, err := b.take(envelope.MACSize)
	if err != nil {
		return mac, err
	}
	copy(mac[:], last)
	if _, err := b.in.ReadByte(); err != io.EOF {
		if err == nil {
			err = envelope.ErrMalformed
		}
		return mac, err
	}
	return mac, nil
}

// take reads n bytes, valid until the next call.
func (b *Reader) take(n int) ([]byte, error) {
	if cap(b.buffer) < n {
		b.buffer = make([]byte, n)
	}
	b.buffer = b.buffer[:n]
	_, err := io.ReadFull(b.in, b.buffer)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = envelope.ErrMalformed
	}
	return b.buffer, err
}
