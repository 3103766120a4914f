package keystore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"path/filepath"
)

// record is a document's file.
type record struct {
	Document
	due int64
}

// A file is its magic and version, a CRC-32C of the rest, the due time, the length of the name, the name and
// the document. The checksum finds damage, not forgery: documents authenticate themselves.
const (
	recordMagic  = "CFS\x01"
	recordHeader = len(recordMagic) + 4 + 8 + 2
	maxRecord    = recordHeader + MaxName + MaxDocument
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeRecord(r record) []byte {
	file := make([]byte, 0, recordHeader+len(r.Name)+len(r.Content))
	file = append(file, recordMagic...)
	file = append(file, 0, 0, 0, 0)
	file = binary.BigEndian.AppendUint64(file, uint64(r.due))
	file = binary.BigEndian.AppendUint16(file, uint16(len(r.Name)))
	file = append(append(file, r.Name...), r.Content...)
	binary.BigEndian.PutUint32(file[len(recordMagic):], crc32.Checksum(file[len(recordMagic)+4:], castagnoli))
	return file
}

var errDamaged = errors.New("damaged, restore it from a backup")

func parseRecord(file []byte) (*record, error) {
	if len(file) < recordHeader || len(file) > maxRecord || string(file[:len(recordMagic)]) != recordMagic {
		return nil, errDamaged
	}
	sum, rest := binary.BigEndian.Uint32(file[len(recordMagic):]), file[len(recordMagic)+4:]
	due, n := int64(binary.BigEndian.Uint64(rest)), int(binary.BigEndian.Uint16(rest[8:]))
	if rest = rest[10:]; n >= len(rest) || crc32.Checksum(file[len(recordMagic)+4:], castagnoli) != sum {
		return nil, errDamaged
	}
	return &record{Document{Name: string(rest[:n]), Content: rest[n:]}, due}, nil
}

// read returns the record of a document, nil if it does not exist.
func (d *Directory) read(kind Kind, name string) (*record, error) {
	folder, file := d.place(kind, name)
	return d.readFile(kind, filepath.Base(folder), file)
}

// readFile returns the record in a file, nil if it is missing.
func (d *Directory) readFile(kind Kind, shard, file string) (*record, error) {
	path := filepath.Join(d.path, string(kind), shard, file)
	content, err := d.disk.read(path, maxRecord+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r *record
	if err == nil {
		r, err = parseRecord(content)
	}
	if err == nil && d.Where(kind, r.Name) != path {
		err = errors.New("it is another document: restore it from a backup")
	}
	if err != nil {
		return nil, unavailable(path, err)
	}
	return r, nil
}
