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
)

// The formats of the write-ahead log and of its index are those of https://www.sqlite.org/walformat.html.
const (
	logHeader   = 32
	frameHeader = 24
	indexHeader = 48 // of which the index begins with two copies
	logMagic    = 0x377f0682
)

// CheckLog reports damage of a database's write-ahead log after a process was killed. SQLite itself takes a frame whose
// checksum does not match for the end of the log, and silently drops all transactions behind it. The log's index has the
// number of committed frames. After a power cut it is not known which of them reached the disk: do not call CheckLog then.
// The database must not be open.
func CheckLog(path string) error {
	committed, salt := readIndex(path + "-shm")
	if committed == 0 {
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

// readIndex returns the number of committed frames, and the salt of their log. The number is 0 if the index is of no use.
func readIndex(path string) (committed uint32, salt []byte) {
	f, err := os.Open(path)
	if err != nil {
		return 0, nil
	}
	defer f.Close()
	var b [2 * indexHeader]byte
	if _, err := io.ReadFull(f, b[:]); err != nil || !bytes.Equal(b[:indexHeader], b[indexHeader:]) {
		return 0, nil
	}
	var sum checksum
	sum.add(b[:40], binary.NativeEndian)
	if !sum.equals(b[40:48], binary.NativeEndian) {
		return 0, nil
	}
	return binary.NativeEndian.Uint32(b[16:]), b[32:40]
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
	if magic&^1 != logMagic || !bytes.Equal(header[16:24], salt) || !sum.equals(header[24:], binary.BigEndian) {
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
