package audit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Line is a line of a log as it stands there. Whether it is as it was written, Verify says.
type Line struct {
	Seq uint64 `json:"seq"`
	record
}

// ParseLine reads a line without its end. It reports false for what is none.
func ParseLine(text []byte) (*Line, bool) {
	if _, ok := parseLink(text); !ok {
		return nil, false
	}
	var l Line
	return &l, json.Unmarshal(text, &l) == nil
}

const (
	// MaxTail is how many lines Tail goes back at most.
	MaxTail    = 10_000
	followEach = 250 * time.Millisecond
)

// tail reads the end of a log.
type tail struct {
	path   string
	filter *Filter
	emit   func(text []byte, l *Line) error
	file   *os.File // the present one; nil where there is none
	at     int64    // where the first line that was not read begins
}

// Tail gives the last n lines that a filter wants, the oldest first, and then, where it is to follow, those
// that are written until ctx ends, from whatever file. The texts are without their ends and valid within
// emit.
func Tail(ctx context.Context, path string, n int, filter *Filter, follow bool, emit func(text []byte, l *Line) error) error {
	t := &tail{path: path, filter: filter, emit: emit}
	err := t.last(ctx, min(n, MaxTail))
	for err == nil && follow && ctx.Err() == nil {
		if err = t.more(); err == nil {
			select {
			case <-ctx.Done():
			case <-time.After(followEach):
			}
		}
	}
	if t.file != nil {
		_ = t.file.Close() // it was only read
	}
	return err
}

// open opens the present file.
func (t *tail) open() (err error) {
	t.at = 0
	if t.file, _, err = openRegular(t.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// last emits the last n lines.
func (t *tail) last(ctx context.Context, n int) error {
	if err := t.open(); err != nil {
		return err
	}
	earlier, err := kept(t.path)
	if err != nil {
		return err
	}
	var found [][]byte
	if t.file != nil {
		if t.at, err = lastEnd(t.file); err == nil {
			err = t.collect(ctx, t.file, t.at, n, &found)
		}
	}
	for i := len(earlier) - 1; i >= 0 && err == nil && len(found) < n; i-- {
		err = t.collectFile(ctx, earlier[i].path, n, &found)
	}
	for _, text := range slices.Backward(found) {
		if err != nil {
			return err
		}
		l, _ := ParseLine(text)
		err = t.emit(text, l)
	}
	return err
}

func (t *tail) collectFile(ctx context.Context, path string, n int, found *[][]byte) error {
	file, info, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return t.collect(ctx, file, info.Size(), n, found)
}

// collect adds the wanted lines of a file from an offset back, the newest first.
func (t *tail) collect(ctx context.Context, file io.ReaderAt, end int64, n int, found *[][]byte) error {
	for b := newBackward(file, end); len(*found) < n; {
		text, _, err := b.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		l, ok := ParseLine(text)
		if ok && t.filter.Wants(l) {
			*found = append(*found, slices.Clone(text))
		}
	}
	return nil
}

// lastEnd is where the last whole line of a file ends.
func lastEnd(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], info.Size()-1); err != nil || last[0] == '\n' {
		return info.Size(), err
	}
	_, start, err := newBackward(file, info.Size()).next()
	return start, err
}

// more emits what was written since the last time, and goes on with the next files where others were begun.
// It goes by places, for a number may be anybody's.
func (t *tail) more() error {
	info, err := os.Stat(t.path)
	moved := err == nil && t.file != nil && !is(t.file, info)
	if err := t.read(); err != nil || t.file != nil && !moved {
		return err
	}
	before, at := t.file, t.at
	if err := t.open(); err != nil || t.file == nil {
		t.file, t.at = before, at
		return err
	}
	if before != nil {
		defer before.Close() // it was only read
		if err := t.between(before); err != nil {
			return err
		}
	}
	return t.read()
}

// between reads the files that were begun behind one and moved away before the present one was opened.
func (t *tail) between(before *os.File) error {
	earlier, err := kept(t.path)
	behind := false
	for _, a := range earlier {
		info, err := os.Stat(a.path)
		switch {
		case err != nil:
			continue // deleted meanwhile
		case is(t.file, info):
			return nil
		case !behind:
			behind = is(before, info)
			continue
		}
		between := tail{path: a.path, filter: t.filter, emit: t.emit}
		if err := between.open(); err != nil || between.file == nil {
			return err
		}
		err = between.read()
		_ = between.file.Close() // it was only read
		if err != nil {
			return err
		}
	}
	return err
}

func is(file *os.File, info fs.FileInfo) bool {
	own, err := file.Stat()
	return err == nil && os.SameFile(own, info)
}

// read emits the whole lines behind at.
func (t *tail) read() error {
	if t.file == nil {
		return nil
	}
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	for lines := newPieces(io.NewSectionReader(t.file, t.at, max(0, info.Size()-t.at))); ; {
		p, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !p.whole && len(p.text) < maxLine && p.text[len(p.text)-1] != '\n' {
			return nil // it is being written
		}
		t.at += int64(len(p.text))
		l, ok := ParseLine(p.line())
		if ok && p.whole && t.filter.Wants(l) {
			if err := t.emit(p.line(), l); err != nil {
				return err
			}
		}
	}
}
