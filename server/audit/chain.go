package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/internal/durable"
)

// checkInterval is how long a file that was as its process left it is written to without another look. If the file is changed within
// that time, lines are lost that the same change would take away at its end.
const checkInterval = time.Millisecond

// chain is the end of a chain, as the process that holds it writes it. It is for one goroutine, except for written.
//
// A process goes on with a file only if the last line that it knows ends it. Otherwise it begins the next file: what
// stands in a file is never made good, and what a kill cut short is the end of its file.
type chain struct {
	reader
	dir     string
	options *Options
	reserve *durable.Reserve
	open    func(path string) (disk, error) // openDisk, except in tests
	current logFile
	file    disk          // nil if another file is to be begun
	info    fs.FileInfo   // of file
	end     int64         // the offset behind the last line in the current file
	began   time.Time     // when the current file's first line was written; zero if it has none
	looked  time.Duration // when the file was looked at last, as File.busy counts
	altered bool          // lines are missing or changed, and no line records it yet
	missed  place         // the end of the chain that was last found to be missing; zero if it was found since
	buffer  []byte        // used again
	last    atomic.Pointer[place]
}

// disk is what a chain needs of an os.File.
type disk interface {
	io.Writer
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
}

// openDisk opens a file that its owner alone can read.
func openDisk(path string) (disk, error) {
	file, err := durable.OpenRegular(path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	if err := file.Chmod(0o600); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// written returns the end of the chain.
func (c *chain) written() place { return *c.last.Load() }

func (c *chain) publish() { c.last.Store(&place{c.at, c.current.number, c.end}) }

// check looks whether the file is as this process left it, and recovers the end of the chain if it is not. Unless it must look, it
// believes what it saw within checkInterval before now.
func (c *chain) check(now time.Duration, must bool) error {
	if c.file != nil && !must && now-c.looked < checkInterval {
		return nil
	}
	c.looked = now
	if c.file != nil {
		info, err := os.Stat(c.current.path)
		if err == nil && os.SameFile(info, c.info) && info.Size() == c.end {
			return nil
		}
	}
	return c.recover(c.written())
}

// recover looks for the last line, from one that was in the chain. If that is not where it was, or what follows it is
// neither a line nor a line that was cut short, the chain was altered.
func (c *chain) recover(known place) error {
	files, err := listFiles(c.dir, known.Last.Chain, known.File)
	if err = errors.Join(err, c.close()); err != nil {
		return err
	}
	c.at, c.end, c.current = known.Last, known.Offset, newLogFile(c.dir, known.Last.Chain, known.File)
	lost, whole := known.Offset > 0, false
	for _, f := range files {
		if f.number == known.File && lost {
			if lost, err = c.lost(f); err != nil {
				return err
			}
		}
		c.current = f
		if whole = !lost; lost || f.size == 0 {
			continue
		}
		offset := int64(0)
		if f.number == known.File {
			offset = known.Offset
		}
		e, err := c.read(context.Background(), f, offset, func([]byte) {})
		if err != nil {
			return err
		}
		whole, lost = e == nil, e != nil && !e.cutShort
	}
	c.altered = c.altered || lost && known != c.missed
	if c.missed = (place{}); lost {
		c.missed = known
	}
	if whole {
		if err := c.use(c.current); err != nil {
			return err
		}
		c.publish()
		return nil
	}
	if c.current.size > 0 {
		c.current = newLogFile(c.dir, c.at.Chain, c.current.number+1)
	}
	return nil
}

// lost reports whether the last line does not end where it did in a file.
func (c *chain) lost(f logFile) (bool, error) {
	file, err := openFile(f.path)
	if err != nil {
		return true, err
	}
	defer file.Close()
	want := fmt.Appendf(nil, "%s%s%s\n", macBegin, c.at.MAC, macEnd)
	got := make([]byte, len(want))
	_, err = file.ReadAt(got, max(0, c.end-int64(len(want))))
	return err != nil || !bytes.Equal(got, want), nil
}

// use opens a file to write behind its end.
func (c *chain) use(f logFile) error {
	file, err := c.open(f.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	err = c.close()
	c.current, c.file, c.info, c.end, c.began = f, file, info, info.Size(), time.Time{}
	if c.end > 0 {
		first, e := firstLine(f)
		c.began, err = first.at, errors.Join(err, e)
	}
	return err
}

func (c *chain) close() (err error) {
	if c.file != nil {
		err = c.file.Close()
	}
	c.file = nil
	return err
}

// write appends objects, each followed by a newline, as lines. After an error, some of them may have been written.
func (c *chain) write(objects [][]byte) error {
	at, lines := c.at, c.buffer[:0]
	for _, part := range objects {
		for object := range bytes.Lines(part) {
			lines = c.appendLine(lines, &at, bytes.TrimSuffix(object, []byte{'\n'}))
		}
	}
	if cap(lines) <= keptBuffer {
		c.buffer = lines
	}
	if err := c.rotate(int64(len(lines))); err != nil {
		return err
	}
	rest := lines
	err := c.reserve.RetryIfFull(func() error {
		n, err := c.file.Write(rest)
		rest = rest[n:]
		return err
	})
	if err != nil {
		return err
	}
	c.at, c.end = at, c.end+int64(len(lines))
	if c.began.IsZero() {
		c.began = time.Now()
	}
	c.publish()
	if c.options.Mirror != nil {
		c.options.Mirror(lines)
	}
	return nil
}

// rotate begins another file if there is none to go on with, or it is full or old. If it cannot, it goes on with the
// full or old one.
func (c *chain) rotate(more int64) error {
	full := c.options.MaxSize > 0 && c.end+more > c.options.MaxSize
	old := c.options.MaxAge > 0 && !c.began.IsZero() && time.Since(c.began) > c.options.MaxAge
	if c.file != nil && (c.end == 0 || !full && !old) {
		return nil
	}
	next := c.current
	var err error
	if c.file != nil {
		next = newLogFile(c.dir, c.at.Chain, next.number+1)
		err = c.file.Sync() // or a power cut could take lines before those of the next file
	}
	if err == nil {
		err = os.MkdirAll(chainDir(c.dir, c.at.Chain), 0o700) // which somebody may have taken away
	}
	if err == nil {
		err = c.reserve.RetryIfFull(func() error { return durable.Create(next.path, nil) })
		if c.file == nil && errors.Is(err, fs.ErrExist) { // it is empty
			err = nil
		}
	}
	if err == nil {
		err = c.use(next)
	}
	if err != nil && c.file != nil {
		c.options.Log.Error("the audit log cannot begin another file", "error", err)
		return nil
	}
	return err
}
