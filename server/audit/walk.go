package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
)

// piece is a line of a file, a part of one that is longer than any that is written, or what follows the last line's
// end.
type piece struct {
	text  []byte // valid until the next one is read
	whole bool   // a line with its end
	part  bool   // not the first of a long line
}

// line is the piece without its end.
func (p piece) line() []byte { return bytes.TrimSuffix(p.text, []byte{'\n'}) }

// cutShort reports whether a piece is what a kill, a full disk or a power cut leaves of a line: its beginning, zeros,
// or both. A whole object is not, whatever it says.
func (p piece) cutShort() bool {
	line := p.line()
	text := bytes.TrimRight(line, "\x00")
	switch {
	case len(text) == 0:
		return len(line) > 0
	case p.part || len(text) >= maxLine:
		return false
	case len(text) <= len(lineBegin):
		return bytes.HasPrefix([]byte(lineBegin), text)
	}
	return bytes.HasPrefix(text, []byte(lineBegin)) && !(p.whole && json.Valid(text))
}

// source reads files of a chain one after the other, in bounded memory.
type source struct {
	files  []logFile // to be read
	offset int64     // of the next piece in the file that is read
	number int       // of the line in that file
	name   string    // of that file

	file   *os.File
	lines  *bufio.Reader // nil between files
	within bool          // the last piece belongs to a line that goes on
}

// all reads the files up to an error, and closes them.
func (s *source) all(ctx context.Context) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		defer s.close()
		for {
			p, err := s.next(ctx)
			if errors.Is(err, io.EOF) || !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// next returns io.EOF after the last file.
func (s *source) next(ctx context.Context) (piece, error) {
	for ctx.Err() == nil {
		if s.lines == nil {
			if err := s.open(); err != nil {
				return piece{}, err
			}
		}
		text, err := s.lines.ReadSlice('\n')
		if len(text) == 0 && errors.Is(err, io.EOF) {
			s.lines, s.within = nil, false
			continue
		}
		part := s.within
		s.within = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !s.within && !errors.Is(err, io.EOF) {
			return piece{}, fmt.Errorf("audit: %s: %w", s.name, err)
		}
		s.number, s.offset = s.number+1, s.offset+int64(len(text))
		return piece{text, !part && err == nil, part}, nil
	}
	return piece{}, ctx.Err()
}

// open continues with the next file. Of the first one, it skips the bytes up to offset.
func (s *source) open() (err error) {
	skip := s.offset
	if s.file != nil {
		skip = 0
	}
	if s.close(); len(s.files) == 0 {
		return io.EOF
	}
	f := s.files[0]
	if s.file, err = openRegular(f.path); err != nil {
		return err
	}
	s.lines = bufio.NewReaderSize(io.NewSectionReader(s.file, skip, max(0, f.size-skip)), maxLine)
	s.files, s.name, s.number, s.offset = s.files[1:], f.name(), 0, skip
	return nil
}

func (s *source) close() {
	if s.file != nil {
		_ = s.file.Close() // it was only read
	}
}

// torn describes what stands between two lines since a process was killed while it wrote.
type torn struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// rest is what follows the last line and is not a line.
type rest struct {
	bytes int64
	sum   hash.Hash
	other bool // some of it was not cut short, but put there
}

func (r *rest) add(text []byte) {
	if r.sum == nil {
		r.sum = sha256.New()
	}
	r.sum.Write(text)
	r.bytes += int64(len(text))
}

func (r *rest) torn() *torn { return &torn{r.bytes, hex.EncodeToString(r.sum.Sum(nil))} }

// walk reads the lines of a chain, each of which must follow the one before.
type walk struct {
	linker
	at   Anchor // the last line
	last link   // the same, as it stands; valid until the next piece is read
	rest rest   // behind it
}

// take adds a piece. It returns false for a line that is not the next one, and for one that does not record what
// stands before it.
func (w *walk) take(p piece) bool {
	l, ok := parseLink(p.line())
	if !ok || !p.whole {
		w.rest.add(p.text)
		w.rest.other = w.rest.other || !p.cutShort()
		return true
	}
	if !w.follows(w.at, l) || !w.rest.recordedBy(l.body) {
		return false
	}
	w.at, w.last, w.rest = l.Anchor, l, rest{}
	return true
}

// Lines with these actions contain these bytes, and no other line of a chain does: quotes within texts are escaped.
var (
	tornAction    = actionText(auditTorn)
	alteredAction = actionText(auditAltered)
)

func actionText(a Action) []byte { return []byte(`"action":"` + a.String() + `"`) }

// recordedBy reports whether a line of the chain records the rest before it, or the rest is empty.
func (r *rest) recordedBy(body []byte) bool {
	if !bytes.Contains(body, tornAction) {
		return r.bytes == 0
	}
	var line record
	return r.bytes > 0 && json.Unmarshal(append(body[:len(body):len(body)], '}'), &line) == nil && line.Torn != nil && *line.Torn == *r.torn()
}
