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

// A mark is how much of a log was committed. Its bytes: durable.BootID, the number of frames, the log's salt, and a CRC-32C of all that.
const (
	markFrames = 36
	markSalt   = markFrames + 4
	markSum    = markSalt + 8
	markSize   = markSum + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readMark returns a mark that was made since the machine started. Without one, the number is 0.
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

// Marker notes the commits of the connection that writes, for CheckLog. One goroutine uses it at a time.
type Marker struct {
	log, file *os.File // nil without a BootID
	mark      [markSize]byte
}

// NewMarker makes the marker of a database whose log exists.
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
	if frames, salt := readMark(path); frames == 0 || !m.isOf(salt) {
		if err = m.Record(0); err == nil {
			err = m.file.Sync() // a mark of another machine that uses the disk at times must not come back
		}
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// isOf reports whether the log has a salt.
func (m *Marker) isOf(salt []byte) bool {
	var b [markSum - markSalt]byte
	_, err := m.log.ReadAt(b[:], logSalt)
	return err == nil && bytes.Equal(b[:], salt)
}

// Note is called after each commit: so many frames of the log are committed. If it fails, nothing is noted until it succeeds again, and
// CheckLog reports nothing.
func (m *Marker) Record(frames int) (err error) {
	if m.file == nil {
		return nil
	}
	if frames > 0 { // the log can begin again with any commit
		_, err = m.log.ReadAt(m.mark[markSalt:markSum], logSalt)
	}
	if err == nil {
		binary.BigEndian.PutUint32(m.mark[markFrames:], uint32(frames))
		binary.BigEndian.PutUint32(m.mark[markSum:], crc32.Checksum(m.mark[:markSum], castagnoli))
		_, err = m.file.WriteAt(m.mark[:], 0)
	}
	if err != nil {
		err = errors.Join(err, m.empty())
	}
	return err
}

// empty leaves no mark: an older one would make a whole log look damaged.
func (m *Marker) empty() error {
	if m.file.Truncate(0) == nil {
		return nil
	}
	return remove(m.file.Name())
}

// Clear removes the mark: call it before the log is emptied. If it fails, the mark is still there.
func (m *Marker) Clear() error {
	if m.file == nil {
		return nil
	}
	if err := m.empty(); err != nil {
		return err
	}
	_ = remove(m.file.Name()) // an empty file is no mark
	return nil
}

// Close leaves the mark as it is. Nothing is noted any more. m can be nil.
func (m *Marker) Close() {
	if m != nil && m.file != nil {
		_, _ = m.file.Close(), m.log.Close()
		m.file = nil
	}
}

// remove removes a file that may be missing.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
