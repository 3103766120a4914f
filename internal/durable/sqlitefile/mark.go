package sqlitefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/coffer-storage/coffer/internal/durable"
)

const markSuffix = "-mark"

// A mark records how much of a log is committed. It consists of durable.BootID, the number of committed frames, the
// log's salt, and a CRC-32C of these.
const (
	markFrames = 36
	markSalt   = markFrames + 4
	markSum    = markSalt + 8
	markSize   = markSum + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readMark reads a mark that was written since the machine started. It returns 0 frames for any other mark or a missing
// one.
func readMark(path string) (frames uint32, salt []byte) {
	f, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return 0, nil
	}
	defer f.Close()
	b := make([]byte, markSize)
	if _, err := io.ReadFull(f, b); err != nil || string(b[:markFrames]) != durable.BootID() {
		return 0, nil
	}
	if crc32.Checksum(b[:markSum], castagnoli) != binary.BigEndian.Uint32(b[markSum:]) {
		return 0, nil
	}
	return binary.BigEndian.Uint32(b[markFrames:]), b[markSalt:markSum]
}

// Marker records commits in the mark of a database, for CheckLog. One goroutine uses it at a time.
type Marker struct {
	log, file *os.File // nil if the system has no BootID
	mark      [markSize]byte
}

// OpenMarker opens the marker of a database whose log exists. It replaces a mark that belongs to another log. The
// caller must call Close.
func OpenMarker(database string) (_ *Marker, err error) {
	m := &Marker{}
	path := database + markSuffix
	if copy(m.mark[:], durable.BootID()) != markFrames {
		return m, remove(path)
	}
	if m.log, err = os.Open(database + "-wal"); err != nil {
		return nil, err
	}
	if m.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, errors.Join(err, m.log.Close())
	}
	if frames, salt := readMark(path); frames == 0 || !m.matchesLog(salt) {
		if err = m.Record(0); err == nil {
			err = m.file.Sync() // otherwise a mark of another machine that also uses this disk could reappear after a power cut
		}
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// matchesLog reports whether the log has a given salt.
func (m *Marker) matchesLog(salt []byte) bool {
	var b [markSum - markSalt]byte
	_, err := m.log.ReadAt(b[:], logSalt)
	return err == nil && bytes.Equal(b[:], salt)
}

// Record records that a number of frames of the log are committed. Call it after each commit. If it fails, the database
// has no mark, and CheckLog reports nothing, until Record succeeds again.
func (m *Marker) Record(frames int) (err error) {
	if m.file == nil {
		return nil
	}
	if frames > 0 { // the log may restart with any commit, which changes its salt
		_, err = m.log.ReadAt(m.mark[markSalt:markSum], logSalt)
	}
	if err == nil {
		binary.BigEndian.PutUint32(m.mark[markFrames:], uint32(frames))
		binary.BigEndian.PutUint32(m.mark[markSum:], crc32.Checksum(m.mark[:markSum], castagnoli))
		_, err = m.file.WriteAt(m.mark[:], 0)
	}
	if err != nil {
		err = errors.Join(err, m.clearFile())
	}
	return err
}

// clearFile removes the mark, because an outdated mark would make an intact log look damaged. It empties the file, or
// removes it if that fails.
func (m *Marker) clearFile() error {
	if m.file.Truncate(0) == nil {
		return nil
	}
	return remove(m.file.Name())
}

// Clear removes the mark. Call it before the log is emptied. If it fails, the mark still exists.
func (m *Marker) Clear() error {
	if m.file == nil {
		return nil
	}
	if err := m.clearFile(); err != nil {
		return err
	}
	_ = remove(m.file.Name()) // an empty file counts as no mark
	return nil
}

// Close closes the files and keeps the mark. Later calls of Record do nothing. A nil Marker does nothing.
func (m *Marker) Close() {
	if m != nil && m.file != nil {
		_, _ = m.file.Close(), m.log.Close()
		m.file = nil
	}
}

// remove removes a file. A missing file is not an error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
