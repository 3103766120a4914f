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

// checkInterval is how long the writer appends to its file without checking again that the file is intact. A change
// within that time can lose lines, but no more than the same change would lose at the end of the interval.
const checkInterval = time.Millisecond

// chain is the end of a chain, to which its process appends. One goroutine uses it, except for publishedEnd.
//
// A process appends to a file only if the file ends with the last line that the process knows. Otherwise it begins the
// next file. Bytes in a file are never repaired, so an alteration stays visible, and a line that a kill cut short stays
// at the end of its file.
type chain struct {
	chainReader
	dir               string
	options           *Options
	reserve           *durable.Reserve
	open              func(path string) (disk, error) // openDisk, replaced in tests
	current           logFile
	file              disk          // nil if the next line begins another file
	info              fs.FileInfo   // identity of file, as of when it was opened
	end               int64         // offset behind the last line in the current file
	firstLineTime     time.Time     // when the first line of the current file was written; zero if the file is empty
	lastChecked       time.Duration // when the file was checked last, since File.opened
	alterationPending bool          // lines are missing or changed, and no line records that yet
	reportedMissing   chainEnd      // the end that was last reported as missing; zero once it was found again
	buffer            []byte        // reused by write
	published         atomic.Pointer[chainEnd]
}

// disk is the part of os.File that a chain uses.
type disk interface {
	io.Writer
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
}

// openDisk opens a file for appending. It restricts the file to its owner.
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

// publishedEnd returns the end of the chain. It is safe for concurrent use.
func (c *chain) publishedEnd() chainEnd { return *c.published.Load() }

func (c *chain) publishEnd() { c.published.Store(&chainEnd{c.last, c.current.number, c.end}) }

// checkFile checks that the file at the current path is the open one and has the expected size, and otherwise recovers
// the end of the chain. It skips the check within checkInterval of the last one, unless mustLook is set.
func (c *chain) checkFile(now time.Duration, mustLook bool) error {
	if c.file != nil && !mustLook && now-c.lastChecked < checkInterval {
		return nil
	}
	c.lastChecked = now
	if c.file != nil {
		info, err := os.Stat(c.current.path)
		if err == nil && os.SameFile(info, c.info) && info.Size() == c.end {
			return nil
		}
	}
	return c.recoverTail(c.publishedEnd())
}

// recoverTail finds the last line of the chain, starting from an end that is known to have been written. If the known
// line is not where it was, or if it is followed by anything but lines of the chain and a line that was cut short, the
// chain was altered: recoverTail sets alterationPending, so that the next commit records the alteration.
func (c *chain) recoverTail(knownEnd chainEnd) error {
	files, err := listFiles(c.dir, knownEnd.Last.Chain, knownEnd.File)
	if err = errors.Join(err, c.close()); err != nil {
		return err
	}
	c.last, c.end, c.current = knownEnd.Last, knownEnd.Offset, newLogFile(c.dir, knownEnd.Last.Chain, knownEnd.File)
	// The known line counts as missing until its file shows it. An end at offset 0 is before the first line of the file.
	altered, endsWithOurLine := knownEnd.Offset > 0, false
	for _, f := range files {
		if f.number == knownEnd.File && altered {
			if altered, err = c.lastLineMissing(f); err != nil {
				return err
			}
		}
		c.current = f
		if endsWithOurLine = !altered; altered || f.size == 0 {
			continue
		}
		offset := int64(0)
		if f.number == knownEnd.File {
			offset = knownEnd.Offset
		}
		e, err := c.readFile(context.Background(), f, offset, func([]byte) {})
		if err != nil {
			return err
		}
		endsWithOurLine, altered = e == nil, e != nil && !e.cutShort
	}
	// An alteration that was already reported, and has not been repaired since, is not reported again.
	c.alterationPending = c.alterationPending || altered && knownEnd != c.reportedMissing
	if c.reportedMissing = (chainEnd{}); altered {
		c.reportedMissing = knownEnd
	}
	if endsWithOurLine {
		if err := c.openForAppend(c.current); err != nil {
			return err
		}
		c.publishEnd()
		return nil
	}
	// The last file is altered or ends with a cut line. It stays as it is, and the next line begins another file.
	if c.current.size > 0 {
		c.current = newLogFile(c.dir, c.last.Chain, c.current.number+1)
	}
	return nil
}

// lastLineMissing reports whether the last known line is missing at the offset where it ended in a file.
func (c *chain) lastLineMissing(f logFile) (bool, error) {
	file, err := openFile(f.path)
	if err != nil {
		return true, err
	}
	defer file.Close()
	want := fmt.Appendf(nil, "%s%s%s\n", macBegin, c.last.MAC, macEnd)
	got := make([]byte, len(want))
	_, err = file.ReadAt(got, max(0, c.end-int64(len(want))))
	return err != nil || !bytes.Equal(got, want), nil
}

// openForAppend opens a file and appends to it from now on.
func (c *chain) openForAppend(f logFile) error {
	file, err := c.open(f.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	err = c.close()
	c.current, c.file, c.info, c.end, c.firstLineTime = f, file, info, info.Size(), time.Time{}
	if c.end > 0 {
		first, e := firstLine(f)
		c.firstLineTime, err = first.at, errors.Join(err, e)
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
	at, lines := c.last, c.buffer[:0]
	for _, part := range objects {
		for object := range bytes.Lines(part) {
			lines = c.appendLine(lines, &at, bytes.TrimSuffix(object, []byte{'\n'}))
		}
	}
	if cap(lines) <= keptBuffer {
		c.buffer = lines
	}
	if err := c.rotateIfNeeded(int64(len(lines))); err != nil {
		return err
	}
	unwritten := lines
	err := c.reserve.RetryIfFull(func() error {
		n, err := c.file.Write(unwritten)
		unwritten = unwritten[n:]
		return err
	})
	if err != nil {
		return err
	}
	c.last, c.end = at, c.end+int64(len(lines))
	if c.firstLineTime.IsZero() {
		c.firstLineTime = time.Now()
	}
	c.publishEnd()
	if c.options.Mirror != nil {
		c.options.Mirror(lines)
	}
	return nil
}

// rotateIfNeeded begins another file if no file is open, or if the current file is too large or too old. If it cannot,
// it keeps using the current file.
func (c *chain) rotateIfNeeded(added int64) error {
	tooLarge := c.options.MaxSize > 0 && c.end+added > c.options.MaxSize
	tooOld := c.options.MaxAge > 0 && !c.firstLineTime.IsZero() && time.Since(c.firstLineTime) > c.options.MaxAge
	if c.file != nil && (c.end == 0 || !tooLarge && !tooOld) {
		return nil
	}
	next := c.current
	var err error
	if c.file != nil {
		next = newLogFile(c.dir, c.last.Chain, next.number+1)
		err = c.file.Sync() // otherwise a power cut could lose lines of this file and keep those of the next
	}
	if err == nil {
		err = os.MkdirAll(chainDir(c.dir, c.last.Chain), 0o700) // the directory may have been removed
	}
	if err == nil {
		err = c.reserve.RetryIfFull(func() error { return durable.Create(next.path, nil) })
		if c.file == nil && errors.Is(err, fs.ErrExist) { // the file is empty: a kill came before its first line
			err = nil
		}
	}
	if err == nil {
		err = c.openForAppend(next)
	}
	if err != nil && c.file != nil {
		c.options.Log.Error("the audit log cannot begin another file", "error", err)
		return nil
	}
	return err
}
