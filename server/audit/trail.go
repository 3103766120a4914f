package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
)

// trail is the files of a log as one process writes them, beside others that may. It is for one goroutine.
//
// Every write is made under the log's lock, which is kept for a moment in case that more is to be written,
// behind the last line that is in the file or, should that be gone, that is known: lines that were taken away
// stay missing.
type trail struct {
	path    string
	key     *Key
	chain   chain
	options *Options
	open    func(path string) (disk, error) // os.OpenFile, but in tests
	file    disk                            // nil before the first write
	info    fs.FileInfo                     // of file
	size    int64                           // of file
	at      Anchor                          // the last line
	end     int64                           // where it ends, or where what is not known of ends
	rest    rest                            // what stands behind end and is no line
	whole   bool                            // the file ends with a line that was written under the lock as it is held now
	head    Head                            // as it was last read
	headAt  fs.FileInfo                     // the file that it was read from
	began   time.Time                       // of the file's first line
	altered bool                            // lines were taken away or changed, and no line says so yet
	headed  bool                            // there was a head when it was read last
	lost    bool                            // the head was taken away or changed, and no line says so yet
	buffer  []byte                          // used again
	unlock  func()                          // nil while the lock is not held
	locked  time.Time                       // since when it is
	freed   time.Time                       // when it was given back last
	met     time.Time                       // when lines of others were found last
	later   Head                            // that noteLater writes
	noting  chan error                      // gets the end of what noteLater began; nil where nothing is under way
}

// disk is what a trail needs of an os.File.
type disk interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
}

// openDisk opens a file, or makes it, that its owner alone can read.
func openDisk(path string) (disk, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		err = file.Chmod(0o600)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// start takes up the log where it ends, or begins one. It returns ErrHead.
func (t *trail) start() error {
	unlock, err := durable.Lock(lockPath(t.path))
	if err != nil {
		return err
	}
	defer unlock()
	if err := t.readHead(); errors.Is(err, fs.ErrNotExist) {
		used, e := InUse(t.path)
		switch {
		case e != nil || used:
			return fmt.Errorf("%w: restore it, or move the log's files away, keep them, and begin a new one by coffer audit begin", join(ErrHead, e))
		case t.key.begun:
			return fmt.Errorf("%w, and so is the log, which was begun with the key that is there: restore them, or move the key away too and begin a new one by coffer audit begin", ErrHead)
		}
		if err := t.writeHead(Head{File: filepath.Base(t.path)}); err != nil {
			return err
		}
		t.options.Log.Warn("there is no audit log: one is begun", "path", t.path)
	} else if err != nil {
		return fmt.Errorf("%w: restore it and the key, or move the log's files away, keep them, and begin a new one by coffer audit begin", err)
	}
	if err := t.key.markBegun(); err != nil {
		return err
	}
	return t.settle()
}

// readHead reads the head if it is another than last time. That one may be gone is remembered, for a head is
// written anew soon.
func (t *trail) readHead() error {
	err := t.readHeadFile()
	t.lost = t.lost || t.headed && errors.Is(err, ErrHead)
	return err
}

func (t *trail) readHeadFile() error {
	info, err := os.Stat(headPath(t.path))
	if err != nil {
		return fmt.Errorf("audit: %w", join(ErrHead, err))
	}
	if t.headAt != nil && durable.Same(info, t.headAt) {
		return nil
	}
	head, err := ReadHead(t.path, t.key)
	if err == nil {
		t.lost = t.lost || head.Seq < t.head.Seq
		t.head, t.headAt, t.headed = head, info, true
	}
	return err
}

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

// write appends objects, one a line of JSON, as lines. An error says that maybe not all of them were. It
// keeps the lock, but where it fails.
func (t *trail) write(objects []byte) error {
	err := t.acquire()
	if err == nil {
		err = t.append(objects)
	}
	if err != nil {
		t.release() // what is in the file now, settle finds
	}
	return err
}

func (t *trail) append(objects []byte) error {
	expired := t.rotate(len(objects) + lineOverhead*bytes.Count(objects, []byte{'\n'}))
	at := t.at
	lines, err := t.begin(t.buffer[:0], &at, expired)
	if err != nil {
		return err
	}
	for object := range bytes.Lines(objects) {
		lines = t.chain.appendLine(lines, &at, bytes.TrimSuffix(object, []byte{'\n'}))
	}
	if cap(lines) <= keptBuffer {
		t.buffer = lines
	}
	if _, err := t.file.Write(lines); err != nil {
		return err
	}
	if t.began.IsZero() {
		t.began = time.Now()
	}
	if t.options.Copy != nil {
		t.options.Copy(lines)
	}
	altered := t.altered || t.lost
	if t.lost {
		t.headed = false // what is told is not missed again
	}
	t.size += int64(len(lines))
	t.at, t.end, t.rest, t.altered, t.lost, t.whole = at, t.size, rest{}, false, false, true
	if altered {
		return t.note() // so that others go on from here too
	}
	t.drop(expired)
	return nil
}

// begin writes what must be said first: what stands there and is no line, what is gone, and what will be.
func (t *trail) begin(dst []byte, at *Anchor, expired []expired) ([]byte, error) {
	ended, err := t.ended()
	if err != nil {
		return nil, err
	}
	if !ended {
		dst = append(dst, " \n"...) // behind the blank it is no line, be it cut short by its end alone
		if t.rest.bytes > 0 {
			t.rest.add(dst)
		}
	}
	if t.rest.bytes > 0 {
		r := newRecord(&Event{Action: auditTorn})
		r.Torn = t.rest.torn()
		dst = t.chain.appendLine(dst, at, r.object())
	}
	if t.altered || t.lost {
		r := newRecord(&Event{Action: auditAltered, Facts: Facts{FactFrom: strconv.FormatUint(at.Seq, 10)}})
		dst = t.chain.appendLine(dst, at, r.object())
		t.tellAltered()
	}
	for _, e := range expired {
		r := newRecord(&Event{Action: auditPruned, Facts: Facts{FactTo: strconv.FormatUint(e.last.Seq, 10)}})
		dst = t.chain.appendLine(dst, at, r.object())
	}
	return dst, nil
}

// tellAltered tells the server, which may be the last to hear of it.
func (t *trail) tellAltered() {
	t.options.Log.Error("the audit log was altered: its head, or lines that were written, are missing or changed; run coffer audit verify", "last", t.at.Seq)
	if t.options.OnAltered != nil {
		t.options.OnAltered()
	}
}

func (t *trail) close() error {
	err := t.settleNote()
	t.release()
	if t.file != nil {
		err = errors.Join(err, t.file.Close())
	}
	return err
}
