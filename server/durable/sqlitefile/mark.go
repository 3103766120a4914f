package sqlitefile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math"
	"os"

	"github.com/coffer-storage/coffer/server/durable"
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
	b, err := os.ReadFile(path)
	if err != nil || len(b) != markSize || string(b[:markFrames]) != durable.BootID() {
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
	frames    int
}

// NewMarker makes the marker of a database whose log exists.
func NewMarker(database string) (_ *Marker, err error) {
	m := &Marker{frames: math.MaxInt} // the first call of Note reads the salt
	if copy(m.mark[:], durable.BootID()) != markFrames {
		return m, nil
	}
	if m.log, err = os.Open(database + "-wal"); err != nil {
		return nil, err
	}
	if m.file, err = os.OpenFile(database+markSuffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, errors.Join(err, m.log.Close())
	}
	return m, nil
}

// Note is called after each commit: so many frames of the log are committed. again is true if the log may have begun again since the
// last call. If Note fails, nothing is noted any more, and CheckLog reports nothing.
func (m *Marker) Note(frames int, again bool) (err error) {
	if m.file == nil {
		return nil
	}
	if again || frames <= m.frames {
		_, err = m.log.ReadAt(m.mark[markSalt:markSum], logSalt)
	}
	m.frames = frames
	if err == nil {
		binary.BigEndian.PutUint32(m.mark[markFrames:], uint32(frames))
		binary.BigEndian.PutUint32(m.mark[markSum:], crc32.Checksum(m.mark[:markSum], castagnoli))
		_, err = m.file.WriteAt(m.mark[:], 0)
	}
	if err != nil {
		err = errors.Join(err, m.Close())
	}
	return err
}

// Close removes the mark: call it before all of the log is moved into the database, or if nothing can be noted. m can be nil.
func (m *Marker) Close() error {
	if m == nil || m.file == nil {
		return nil
	}
	err := os.Remove(m.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, m.file.Close(), m.log.Close())
	m.file = nil
	return err
}
