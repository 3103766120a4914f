package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
)

// chain is the files of one chain as the process that holds it writes them. It is for one goroutine.
//
// Every write goes behind the last line that this process knows. If the file is not as it was left, the chain looks
// for that line again, and goes on behind it even if it is gone: lines that were taken away stay missing.
type chain struct {
	linker
	dir      string // of the log
	options  *Options
	open     func(path string) (disk, error) // openDisk, except in tests
	current  logFile                         // its size is -1 after a failed write
	file     disk
	info     fs.FileInfo // of file
	at       Anchor      // the last line
	begin    int64       // its offset in the file
	rest     rest        // behind it
	ended    bool        // the file ends with a line's end
	began    time.Time   // when the file's first line was written
	altered  bool        // lines, or the head, are missing or changed, and no line records it yet
	headLost bool
	buffer   []byte // used again
}

// disk is what a chain needs of an os.File.
type disk interface {
	io.Writer
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
}

// openDisk opens a file, or makes it, that its owner alone can read.
func openDisk(path string) (disk, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
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

// find looks for the last line, from one that was in the chain. If that is not where it was, or what follows is not
// the rest of the chain, the chain was altered.
func (c *chain) find(known head) error {
	if err := os.MkdirAll(chainDir(c.dir, known.Head.Chain), 0o700); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	files, err := listFiles(c.dir, known.Head.Chain, known.File-1)
	if err != nil {
		return err
	}
	last := newLogFile(c.dir, known.Head.Chain, known.File)
	if len(files) > 0 {
		last = files[len(files)-1]
	}
	w := walk{linker: c.linker, at: known.Head}
	s := source{offset: known.Offset, files: slices.DeleteFunc(files, func(f logFile) bool { return f.size == 0 })} // a device, too
	c.begin, c.ended = known.Offset, true
	ok := known.File > known.Head.Seq // the line is in the file before, or there is none
	for p, err := range s.all(context.Background()) {
		if err != nil {
			return err
		}
		before := w.at
		if l, _ := parseLink(p.line()); ok {
			ok = w.take(p)
		} else if ok = l.Anchor == known.Head; ok {
			before = Anchor{}
		}
		if w.at != before {
			c.begin = s.offset - int64(len(p.text))
		}
		if c.ended = bytes.HasSuffix(p.text, []byte{'\n'}); !ok {
			break
		}
	}
	c.at, c.rest, c.altered = w.at, w.rest, !ok || w.rest.other
	c.ended = last.size == 0 || c.ended && !c.altered
	if c.altered {
		c.rest = rest{} // no line makes it good
	}
	c.began = time.Time{}
	if first, err := firstPiece(last); err == nil {
		c.began = timeOf(first)
	}
	return c.use(last)
}

// use opens a file to write to.
func (c *chain) use(f logFile) error {
	file, err := c.open(f.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if c.file != nil {
		err = c.file.Close()
	}
	c.current, c.file, c.info = f, file, info
	c.current.size = info.Size()
	return err
}

// timeOf returns when a line was written; zero if it does not say.
func timeOf(p piece) (at time.Time) {
	var r record
	if p.whole && json.Unmarshal(p.text, &r) == nil {
		at, _ = time.Parse(timeLayout, r.Time)
	}
	return at
}

// head returns the chain's head, as far as it follows from the last line.
func (c *chain) head() head { return head{Head: c.at, File: c.current.first, Offset: c.begin} }

// write appends objects, one a line of JSON, as lines. The first names the heads of other chains, unless that is
// empty. After an error, some of them may have been written.
func (c *chain) write(objects []byte, heads string) (rotated bool, err error) {
	if info, err := os.Stat(c.current.path); err != nil || !os.SameFile(info, c.info) || info.Size() != c.current.size {
		if err := c.find(c.head()); err != nil { // somebody changed it, or a write failed
			return false, err
		}
	}
	rotated = c.rotate(len(objects) + len(heads) + lineOverhead*(1+bytes.Count(objects, []byte{'\n'})))
	at, begin, lines := c.at, 0, c.buffer[:0]
	add := func(heads string, object []byte) {
		begin = len(lines)
		lines = c.appendLine(lines, &at, heads, object)
	}
	if !c.ended {
		lines = append(lines, " \n"...) // with the blank it is not a line, even if only its end was cut off
		if c.rest.bytes > 0 {
			c.rest.add(lines)
		}
	}
	if c.rest.bytes > 0 {
		r := newRecord(&Event{Action: auditTorn})
		r.Torn = c.rest.torn()
		add("", r.object())
	}
	if c.altered || c.headLost {
		add("", newRecord(&Event{Action: auditAltered, Facts: Facts{FactFrom: strconv.FormatUint(c.at.Seq, 10)}}).object())
		c.reportAltered()
	}
	for object := range bytes.Lines(objects) {
		add(heads, bytes.TrimSuffix(object, []byte{'\n'}))
		heads = ""
	}
	if cap(lines) <= keptBuffer {
		c.buffer = lines
	}
	size := c.current.size
	c.current.size = -1
	if _, err := c.file.Write(lines); err != nil {
		return rotated, err
	}
	if c.began.IsZero() {
		c.began = time.Now()
	}
	if c.options.Copy != nil {
		c.options.Copy(lines)
	}
	c.at, c.begin, c.current.size = at, size+int64(begin), size+int64(len(lines))
	c.rest, c.altered, c.headLost, c.ended = rest{}, false, false, true
	return rotated, nil
}

// reportAltered writes to the server's log, because the audit log may be out of reach.
func (c *chain) reportAltered() {
	c.options.Log.Error("the audit log was altered: its head, or lines that were written, are missing or changed; run coffer audit verify",
		"chain", c.at.Chain, "last", c.at.Seq)
	if c.options.OnAltered != nil {
		c.options.OnAltered()
	}
}

// rotate begins another file if the current one is full or old. If it cannot, the current one is written on.
func (c *chain) rotate(more int) bool {
	full := c.options.MaxSize > 0 && c.current.size+int64(more) > c.options.MaxSize
	old := c.options.MaxAge > 0 && !c.began.IsZero() && time.Since(c.began) > c.options.MaxAge
	if !full && !old || c.current.size <= 0 || c.altered || c.rest.bytes > 0 {
		return false
	}
	next := newLogFile(c.dir, c.at.Chain, c.at.Seq+1)
	err := c.file.Sync() // or a power cut could take lines before those of the next file
	if err == nil {
		err = durable.Create(next.path, nil)
	}
	if err == nil {
		err = c.use(next)
	}
	if err != nil {
		c.options.Log.Error("the audit log cannot begin another file", "error", err)
		return false
	}
	c.began, c.begin = time.Time{}, 0
	return true
}

// firstPiece returns the beginning of a file.
func firstPiece(f logFile) (piece, error) {
	s := source{files: []logFile{f}}
	defer s.close()
	return s.next(context.Background())
}
