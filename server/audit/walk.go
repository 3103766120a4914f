package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
)

// piece is a line of a file, or a part of one that is longer than any that is written, or what stands behind
// the last line's end.
type piece struct {
	text  []byte // as it stands; valid until the next one is read
	whole bool   // a line with its end
	part  bool   // not the first of a long line
}

// line is the piece without its end.
func (p piece) line() []byte { return bytes.TrimSuffix(p.text, []byte{'\n'}) }

// cutShort reports whether a piece is what a kill, a full disk or a power cut leaves of a line that was being
// written: its begin, zeros, or the one behind the other. A whole object is none, whatever it says.
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

// pieces reads a file in bounded memory.
type pieces struct {
	reader *bufio.Reader
	within bool // what was read last is longer than a line
}

func newPieces(r io.Reader) *pieces { return &pieces{reader: bufio.NewReaderSize(r, maxLine)} }

// next returns io.EOF at the end.
func (p *pieces) next() (piece, error) {
	text, err := p.reader.ReadSlice('\n')
	if len(text) == 0 && err != nil {
		return piece{}, err
	}
	part := p.within
	p.within = errors.Is(err, bufio.ErrBufferFull)
	if err != nil && !p.within && !errors.Is(err, io.EOF) {
		return piece{}, err
	}
	return piece{text, !part && err == nil, part}, nil
}

// torn tells of what stands between two lines since a process was killed while it wrote.
type torn struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// rest is what stands behind the last line and is none.
type rest struct {
	bytes int64
	sum   hash.Hash
	other bool // some of it is not cut short, but was put there
}

func (r *rest) add(text []byte) {
	if r.sum == nil {
		r.sum = sha256.New()
	}
	r.sum.Write(text)
	r.bytes += int64(len(text))
}

func (r *rest) torn() *torn { return &torn{r.bytes, hex.EncodeToString(r.sum.Sum(nil))} }

// walk goes over lines, each of which must be the one behind the one before.
type walk struct {
	chain
	at   Anchor // the last line
	end  int64  // where it ends
	rest rest   // since then
}

// take goes over a piece. It reports false for a line that is not the next one, and for one that says nothing
// of what stands before it and is none.
func (w *walk) take(p piece) bool {
	l, ok := parseLink(p.line())
	if !ok || !p.whole {
		w.rest.add(p.text)
		w.rest.other = w.rest.other || !p.cutShort()
		return true
	}
	if !w.follows(w.at, l) || !w.rest.toldBy(l.body) {
		return false
	}
	w.at, w.end, w.rest = l.Anchor, w.end+w.rest.bytes+int64(len(p.text)), rest{}
	return true
}

// What the lines of these actions hold, and no other line of the chain: the quotes of a text in a line are escaped.
var (
	tornAction    = []byte(`"action":"` + auditTorn.String() + `"`)
	alteredAction = []byte(`"action":"` + auditAltered.String() + `"`)
)

// toldBy reports whether a line of the chain tells of what stands before it, or has nothing to tell.
func (r *rest) toldBy(body []byte) bool {
	if !bytes.Contains(body, tornAction) {
		return r.bytes == 0
	}
	var line record
	return r.bytes > 0 && json.Unmarshal(append(body[:len(body):len(body)], '}'), &line) == nil && line.Torn != nil && *line.Torn == *r.torn()
}
