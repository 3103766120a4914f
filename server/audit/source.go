package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/coffer-storage/coffer/server/durable"
)

// source is the files of a log as they are at one moment, read one after the other.
type source struct {
	head    Head
	headErr error
	files   []string // those that the head does not tell to be deleted
	left    string   // one that it does, and that is not what a kill left of it; empty where there is none
	active  *os.File // the last of them, open, for it may be moved away meanwhile; nil where there is none
	end     int64    // of active
	total   int64    // bytes

	file     *os.File // that is read
	lines    *pieces
	name     string
	number   int // of the line in it
	read     int64
	progress func(done, total int64)
}

// openSource looks at the log while nobody writes to it. A copy in a directory that cannot be written to,
// nobody writes to.
func openSource(path string, key *Key, progress func(done, total int64)) (s *source, err error) {
	unlock, err := durable.Lock(lockPath(path))
	if readOnly(err) {
		unlock, err = func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer unlock()
	s = &source{progress: progress}
	s.head, s.headErr = ReadHead(path, key)
	all, err := archives(path)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.last <= s.head.From.Seq {
			if last, err := lastAnchor(a.path); err != nil || last != s.head.From {
				s.left = filepath.Base(a.path)
			}
			continue
		}
		info, err := os.Stat(a.path)
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		s.files, s.total = append(s.files, a.path), s.total+info.Size()
	}
	var info fs.FileInfo
	if s.active, info, err = openRegular(path); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.files, s.end, s.total = append(s.files, path), info.Size(), s.total+info.Size()
	return s, nil
}

// readOnly reports whether a file cannot be made for the directory or its disk cannot be written to.
func readOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// next gives the next piece, of whatever file. It returns io.EOF behind the last one.
func (s *source) next(ctx context.Context) (piece, error) {
	for {
		if s.lines == nil {
			if err := s.open(); err != nil {
				return piece{}, err
			}
		}
		p, err := s.lines.next()
		if errors.Is(err, io.EOF) {
			s.lines = nil
			continue
		}
		if err != nil {
			return piece{}, fmt.Errorf("audit: %s: %w", s.name, err)
		}
		s.number++
		s.count(len(p.text))
		return p, ctx.Err()
	}
}

// open takes up the next file.
func (s *source) open() (err error) {
	s.closeFile()
	if len(s.files) == 0 {
		return io.EOF
	}
	path := s.files[0]
	s.files, s.name, s.number = s.files[1:], filepath.Base(path), 0
	if len(s.files) == 0 && s.active != nil {
		s.lines = newPieces(io.NewSectionReader(s.active, 0, s.end))
		return nil
	}
	if s.file, _, err = openRegular(path); err != nil {
		return err
	}
	s.lines = newPieces(s.file)
	return nil
}

const progressStep = 1 << 20

func (s *source) count(n int) {
	before := s.read
	if s.read += int64(n); s.progress != nil && (s.read/progressStep != before/progressStep || s.read == s.total) {
		s.progress(s.read, s.total)
	}
}

func (s *source) closeFile() {
	if s.file != nil {
		_ = s.file.Close() // it was only read
		s.file = nil
	}
}

func (s *source) close() {
	s.closeFile()
	if s.active != nil {
		_ = s.active.Close() // it was only read
	}
}
