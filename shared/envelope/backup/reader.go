// Package backup reads backup files (shared/envelope/SPEC.md section 9). It is separate from package envelope, because
// buffered input would make the browser's core larger, which does not read backups.
package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// Reader reads a backup file of any size in constant memory: it holds one document at a time. It is not safe for concurrent
// use.
type Reader struct {
	envelope.Backup
	in      *bufio.Reader
	content io.Writer
	header  []byte // bytes of the header, for Tee
	buffer  []byte // result of take
	started bool   // whether a document was read
}

// Open reads the header of a backup file from r. It reads ahead, and does not close r. It returns
// envelope.ErrUnsupportedVersion for another version, envelope.ErrMalformed for other bytes that are not a backup, and the
// errors of r.
func Open(r io.Reader) (*Reader, error) {
	b := &Reader{in: bufio.NewReaderSize(r, 64<<10), content: io.Discard}
	const magic = envelope.BackupMagic
	start, err := b.next(len(magic))
	if err != nil {
		return nil, err
	}
	if string(start[:3]) != magic[:3] {
		return nil, envelope.ErrMalformed
	}
	if start[3] != magic[3] {
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

// slotFixedSize is the size of the fields of a slot that precede its first field of variable length.
const slotFixedSize = 16 + 1 + 8 + envelope.RootSize + 32 + 16 + 4

func (b *Reader) readSlot() (envelope.Slot, error) {
	start := len(b.header)
	_, err := b.next(slotFixedSize)
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

// field reads a field of the header that follows its 16-bit length. It returns ErrMalformed if the length exceeds limit.
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

// next reads n bytes of the header and keeps a copy for Tee. The result is valid until the next call.
func (b *Reader) next(n int) ([]byte, error) {
	bytes, err := b.take(n)
	b.header = append(b.header, bytes...)
	return bytes, err
}

// Tee writes everything that precedes the MAC to content, which should be a hash: errors are ignored. It writes the header
// at once and the documents as Next reads them, so it must be called before Next.
func (b *Reader) Tee(content io.Writer) {
	b.content = content
	_, _ = content.Write(b.header)
}

// Next returns the next document, and io.EOF after the last one. It returns envelope.ErrMalformed for a truncated file, a
// document of another environment, and a system document that is not the first document.
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
	if err != nil || d.Environment != b.Environment || b.started && d.Owner == "" {
		return nil, envelope.ErrMalformed
	}
	b.started = true
	return d, nil
}

// MAC returns the MAC at the end of the file. Call it after Next has returned io.EOF. It returns envelope.ErrMalformed if
// bytes follow the MAC.
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

// take reads n bytes. The result is valid until the next call. It returns envelope.ErrMalformed at the end of the file.
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
