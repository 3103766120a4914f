package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

// settle finds the last line, which another process may have written. Where lines that are known of are not
// there, or not as they were, it goes on behind those that are known.
func (t *trail) settle() error {
	t.whole = false
	info, err := os.Stat(t.path)
	same := err == nil && t.file != nil && os.SameFile(info, t.info)
	if !same {
		if err := t.reopen(); err != nil {
			return err
		}
		info = t.info
	}
	t.size = info.Size()
	headErr := t.readHead()
	if same && t.size == t.end && t.head.Seq <= t.at.Seq && headErr == nil {
		return nil
	}
	if same && t.end <= t.size {
		if ok, err := t.follow(t.at, t.end); ok || err != nil {
			return err
		}
	}
	if headErr == nil {
		if ok, err := t.follow(t.head.Anchor, t.headOffset()); ok || err != nil {
			return err
		}
		if t.head.Seq >= t.at.Seq {
			t.at = t.head.Anchor
		}
	}
	t.end, t.rest, t.altered = t.size, rest{}, true
	return nil
}

// reopen opens the file that is at the path now: the first one, or one that another process or somebody put there.
func (t *trail) reopen() error {
	file, err := t.open(t.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if t.file != nil {
		err = t.file.Close()
	}
	t.file, t.info, t.whole = file, info, false
	t.began = firstTime(io.NewSectionReader(file, 0, info.Size()))
	return err
}

// firstTime is when the first line of a file was written; the zero time where that is not said.
func firstTime(file io.Reader) time.Time {
	var r record
	if p, err := newPieces(file).next(); err == nil && p.whole {
		_ = json.Unmarshal(p.text, &r) // what cannot be read says no time
	}
	at, _ := time.Parse(timeLayout, r.Time)
	return at
}

// headOffset is where the head's line ends in the file. A process that was killed between moving a file away
// and noting that left the head behind.
func (t *trail) headOffset() int64 {
	if _, err := os.Stat(archivePath(t.path, t.head.Seq)); err == nil {
		return 0
	}
	return t.head.offset
}

// follow goes over the lines behind one that ends at an offset, and reports whether they are all they must be.
func (t *trail) follow(at Anchor, offset int64) (bool, error) {
	if ok, err := t.endsAt(at, offset); !ok || err != nil {
		return false, err
	}
	w := walk{chain: t.chain, at: at, end: offset}
	for lines := newPieces(io.NewSectionReader(t.file, offset, t.size-offset)); ; {
		p, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
		if !w.take(p) {
			return false, nil
		}
	}
	if w.at.Seq < t.at.Seq || w.at.Seq < t.head.Seq {
		return false, nil
	}
	if w.at.Seq > t.at.Seq {
		t.met = time.Now()
	}
	t.at, t.end, t.rest, t.altered = w.at, w.end, w.rest, false
	if w.rest.other { // no line may make it good
		t.end, t.rest, t.altered = t.size, rest{}, true
	}
	return true, nil
}

// endsAt reports whether a line ends at an offset. Nothing does at the begin of a file, which is as good.
func (t *trail) endsAt(at Anchor, offset int64) (bool, error) {
	if offset == 0 || offset > t.size {
		return offset == 0, nil
	}
	want := []byte(macBegin + at.MAC.String() + macEnd + "\n")
	got := make([]byte, len(want))
	if offset < int64(len(want)) {
		return false, nil
	}
	_, err := t.file.ReadAt(got, offset-int64(len(want)))
	return bytes.Equal(got, want), err
}

// ended reports whether the file ends with a line's end.
func (t *trail) ended() (bool, error) {
	if t.whole || t.size == 0 {
		return true, nil
	}
	var last [1]byte
	_, err := t.file.ReadAt(last[:], t.size-1)
	return last[0] == '\n', err
}
