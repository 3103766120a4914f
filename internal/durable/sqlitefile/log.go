package sqlitefile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable"
)

// The format of the write-ahead log is that of https://www.sqlite.org/walformat.html.
const (
	logHeader   = 32
	logSalt     = 16 // offset of the salt, 8 bytes: another one each time that the log begins again
	frameHeader = 24
	logMagic    = 0x377f0682
)

// CheckLog reports damage of a database's write-ahead log after a process was killed. SQLite itself takes a frame whose
// checksum does not match for the end of the log, and silently drops all transactions behind it. The log's mark has the
// number of committed frames. After a power cut it is not known which of them reached the disk, and CheckLog reports nothing.
// The database must not be open. Of its files, all must be regular: SQLite would use the log beside what a link points to.
func CheckLog(path string) error {
	for _, suffix := range []string{"", "-wal", markSuffix} {
		if info, err := os.Lstat(path + suffix); err == nil && !info.Mode().IsRegular() {
			return &fs.PathError{Op: "open", Path: path + suffix, Err: durable.ErrIrregular}
		}
	}
	committed, salt := readMark(path + markSuffix)
	if info, err := os.Stat(path); committed == 0 || err != nil || info.Size() == 0 { // without a database, the log is of no use
		return nil
	}
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the log is missing: %w", sqlite3.CORRUPT)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return checkFrames(bufio.NewReaderSize(f, 1<<20), committed, salt)
}

func checkFrames(r io.Reader, committed uint32, salt []byte) error {
	var header [logHeader]byte
	damaged := func(frame uint32) error {
		return fmt.Errorf("frame %d of %d of the log: %w", frame, committed, sqlite3.CORRUPT)
	}
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return damaged(0)
	}
	var order binary.ByteOrder = binary.LittleEndian
	magic := binary.BigEndian.Uint32(header[:])
	if magic == logMagic|1 {
		order = binary.BigEndian
	}
	var sum checksum
	sum.add(header[:24], order)
	if magic&^1 != logMagic || !sum.equals(header[24:], binary.BigEndian) {
		return damaged(0)
	}
	if isNext(header[logSalt:], salt) {
		return nil
	}
	if !bytes.Equal(header[logSalt:logSalt+8], salt) {
		return damaged(0)
	}
	var frame [frameHeader + PageSize]byte
	for n := uint32(1); n <= committed; n++ {
		if _, err := io.ReadFull(r, frame[:]); err != nil {
			return damaged(n)
		}
		sum.add(frame[:8], order)
		sum.add(frame[frameHeader:], order)
		if !bytes.Equal(frame[8:16], salt) || !sum.equals(frame[16:24], binary.BigEndian) {
			return damaged(n)
		}
	}
	return nil
}

// isNext reports whether a salt is of the log after that of another salt, which begins once all of that is in the database. So a process was
// killed that had noted no frame of the new log.
func isNext(salt, before []byte) bool {
	return binary.BigEndian.Uint32(salt) == binary.BigEndian.Uint32(before)+1
}

// checksum is the cumulative checksum of a log.
type checksum [2]uint32

func (s *checksum) add(b []byte, order binary.ByteOrder) {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
}

func (s *checksum) equals(b []byte, order binary.ByteOrder) bool {
	return order.Uint32(b) == s[0] && order.Uint32(b[4:]) == s[1]
}
