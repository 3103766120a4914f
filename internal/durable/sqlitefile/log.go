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

// The format of the write-ahead log is described at https://www.sqlite.org/walformat.html.
const (
	logHeader   = 32
	logSalt     = 16 // offset of the salt, 8 bytes that change whenever the log restarts
	frameHeader = 24
	logMagic    = 0x377f0682
)

// CheckLog detects damage of a database's write-ahead log after a kill. SQLite itself treats a frame with a wrong
// checksum as the end of the log, and silently drops all transactions behind it. So each commit records the number of
// committed frames in a file beside the log, its mark, and CheckLog verifies that many frames.
//
// After a power cut it is not known which frames reached the disk, and CheckLog reports nothing. The database must not
// be open. CheckLog returns durable.ErrIrregular if a file of the database is not regular, because SQLite would follow
// a symlink and use the log beside its target.
func CheckLog(path string) error {
	for _, suffix := range []string{"", "-wal", markSuffix} {
		if info, err := os.Lstat(path + suffix); err == nil && !info.Mode().IsRegular() {
			return &fs.PathError{Op: "open", Path: path + suffix, Err: durable.ErrIrregular}
		}
	}
	committed, salt := readMark(path + markSuffix)
	if info, err := os.Stat(path); committed == 0 || err != nil || info.Size() == 0 { // a log without a database is useless
		return nil
	}
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the write-ahead log is missing: %w", sqlite3.CORRUPT)
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
		return fmt.Errorf("frame %d of %d of the write-ahead log: %w", frame, committed, sqlite3.CORRUPT)
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
	if isNextSalt(header[logSalt:], salt) {
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

// isNextSalt reports whether a log has restarted once since another salt. The log restarts only after all frames were
// moved to the database, so the mark of the former log is no longer needed. It happens if a process is killed before it
// has recorded a commit of the new log.
func isNextSalt(salt, before []byte) bool {
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
