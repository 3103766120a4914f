package audit

import (
	"bytes"
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
