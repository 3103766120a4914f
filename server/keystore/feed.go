package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// The feed of a Directory is a row of numbered files, the last two of which are kept. A line is an entry: a
// random id, the kind and the name, in base64. The first line of a file only begins it. A position is the last
// line that was read: the file, the offset and the id of that line. A feed that was trimmed beyond the line, or
// that another history of the directory replaced, does not contain it.
const (
	maxSegment = 4 << 20
	maxLine    = 26 + 1 + 16 + 1 + (MaxName*4+2)/3 + 2
)

func (d *Directory) segment(number int) string {
	return filepath.Join(d.path, feedName, fmt.Sprintf("%012d", number))
}

// line returns an entry with a new id; one without a name begins a file.
func line(c Change) []byte {
	return fmt.Appendf(nil, "%s %s %s\n", rand.Text(), c.Kind, base64.RawURLEncoding.EncodeToString([]byte(c.Name)))
}

// lastSegment returns the number of the file that entries are appended to, and makes the first one. The lock must be held.
func (d *Directory) lastSegment() (int, error) {
	names, err := d.names(filepath.Join(d.path, feedName))
	if err != nil {
		return 0, err
	}
	if len(names) == 0 {
		return 1, d.beginSegment(1)
	}
	number, err := strconv.Atoi(names[len(names)-1])
	if err != nil {
		return 0, unavailable(filepath.Join(d.path, feedName), errors.New("it contains a file that is not part of the feed: remove it"))
	}
	return number, nil
}

func (d *Directory) beginSegment(number int) error {
	path := d.segment(number)
	if err := d.disk.replace(filepath.Join(d.path, writingName), path, line(Change{Kind: "-"})); err != nil {
		return unavailable(path, err)
	}
	return nil
}

// announce appends an entry. The lock must be held.
func (d *Directory) announce(c Change) error {
	number, err := d.lastSegment()
	if err != nil {
		return err
	}
	size, err := d.disk.size(d.segment(number))
	if err != nil {
		return err
	}
	if size >= maxSegment {
		if err := d.disk.remove(d.segment(number - 1)); err != nil { // first, so that the files have no gap
			return err
		}
		number++
		if err := d.beginSegment(number); err != nil {
			return err
		}
	}
	return d.disk.appendLine(d.segment(number), line(c))
}

// Changes implements Store.
func (d *Directory) Changes(_ context.Context, since Position) ([]Change, Position, error) {
	unlock, err := d.lock()
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	if since == "" {
		return d.currentPosition()
	}
	number, offset, id, err := parsePosition(since)
	if err != nil {
		return nil, "", err
	}
	read, err := d.disk.readFrom(d.segment(number), offset, maxSegment+maxLine)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", ErrFeedLost
	}
	if err != nil {
		return nil, "", unavailable(d.segment(number), err)
	}
	if !bytes.HasPrefix(read, append([]byte(id), ' ')) {
		return nil, "", ErrFeedLost
	}
	changes, next := parseLines(nil, read, number, offset)
	changes = changes[1:] // the line that was read before
	following, err := d.disk.read(d.segment(number+1), maxSegment+maxLine)
	switch {
	case err == nil:
		changes, next = parseLines(changes, following, number+1, 0)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, "", unavailable(d.segment(number+1), err)
	}
	named := changes[:0]
	for _, c := range changes {
		if c.Kind != "-" {
			named = append(named, c)
		}
	}
	return named, next, nil
}

func (d *Directory) currentPosition() ([]Change, Position, error) {
	number, err := d.lastSegment()
	if err != nil {
		return nil, "", err
	}
	whole, err := d.disk.read(d.segment(number), maxSegment+maxLine)
	if err != nil {
		return nil, "", unavailable(d.segment(number), err)
	}
	_, next := parseLines(nil, whole, number, 0)
	return nil, next, nil
}

func position(number int, offset int64, id string) Position {
	return Position(fmt.Sprintf("%d %d %s", number, offset, id))
}

func parsePosition(p Position) (number int, offset int64, id string, err error) {
	if _, err = fmt.Sscanf(string(p), "%d %d %s", &number, &offset, &id); err != nil {
		err = ErrFeedLost
	}
	return number, offset, id, err
}

// parseLines appends the entries of whole lines, and returns the position of the last one. Bytes after the
// last line were left by a killed writer.
func parseLines(changes []Change, lines []byte, number int, offset int64) ([]Change, Position) {
	var next Position
	for {
		one, rest, whole := bytes.Cut(lines, []byte{'\n'})
		if !whole {
			return changes, next
		}
		id, entry, _ := strings.Cut(string(one), " ")
		kind, encoded, _ := strings.Cut(entry, " ")
		name, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			kind = "-" // damaged
		}
		changes = append(changes, Change{Kind(kind), string(name)})
		next = position(number, offset, id)
		offset += int64(len(one)) + 1
		lines = rest
	}
}
