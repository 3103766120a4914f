package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"
)

// Line is a line of a log as it stands there. Whether it is as it was written, Verify says.
type Line struct {
	Chain uint32 `json:"chain"`
	Seq   uint64 `json:"seq"`
	record
	anchor Anchor
	at     time.Time
}

// ParseLine reads a line without its end. It returns false if it is not one.
func ParseLine(text []byte) (*Line, bool) {
	link, ok := parseLink(text)
	l := &Line{anchor: link.Anchor}
	if !ok || json.Unmarshal(text, l) != nil {
		return nil, false
	}
	var err error
	l.at, err = time.Parse(timeLayout, l.Time)
	return l, err == nil
}

// Entry is an event as the log has it: one JSON object with chain, seq and mac.
type Entry = json.RawMessage

// Query selects the events of a page.
type Query struct {
	Filter
	From  Heads // the lines to begin with, as the last page returned them; nil begins with the newest
	Limit int   // of events
}

// Reader reads a log for display. It proves nothing: Verify does.
type Reader struct {
	dir string
	key *Key
}

// NewReader returns a reader of the log in a directory. The key is the log's.
func NewReader(dir string, key *Key) *Reader { return &Reader{dir, key} }

// Head reads the heads of all chains. It returns ErrHead.
func (r *Reader) Head() (Head, error) { return ReadHead(r.dir, r.key) }

const (
	maxScanned = 100_000 // lines that one page reads: a query that few lines fit is answered in many pages
	// maxOlder is how many lines in a row must be older than a query wants for it to end there: a clock that was put
	// back for a while makes some.
	maxOlder = 10_000
)

// Page returns events of all chains, the newest first, and the lines that the next page begins with; nil after the last
// page. They stay valid while lines are added and files are deleted. A page may have no events although there are more.
// Page reads from the end, in bounded memory.
func (r *Reader) Page(ctx context.Context, q Query) (entries []Entry, next Heads, err error) {
	m, err := openMerge(r.dir, q.From)
	if err != nil {
		return nil, nil, err
	}
	defer m.close()
	older := 0
	for lines := 0; older < maxOlder; lines++ {
		c, err := m.latest(ctx)
		if c == nil || err != nil {
			return entries, nil, err
		}
		if len(entries) >= q.Limit || lines >= maxScanned {
			return entries, m.next(), nil
		}
		if c.line.at.Before(q.Since) {
			older++
		} else if older = 0; q.Wants(c.line) {
			entries = append(entries, slices.Clone(c.text))
		}
		c.line = nil
	}
	return entries, nil, nil
}

const (
	// MaxTail is how many lines Tail goes back at most.
	MaxTail    = 10_000
	followEach = 250 * time.Millisecond
)

// Tail calls emit with the last n lines of all chains that a filter wants, the oldest first, and then, if it is to
// follow, with those that are written until ctx ends. The texts are without their ends.
func Tail(ctx context.Context, dir string, n int, filter *Filter, follow bool, emit func(text []byte, l *Line) error) error {
	seen := map[uint32]place{}
	for n = min(n, MaxTail); ; n = -1 {
		if err := tail(ctx, dir, n, filter, seen, emit); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEach):
		}
	}
}

// tail emits the last n lines, or all that are behind the places that were seen if n is negative, and moves these.
func tail(ctx context.Context, dir string, n int, filter *Filter, seen map[uint32]place, emit func(text []byte, l *Line) error) error {
	m, err := openMerge(dir, nil)
	if err != nil {
		return err
	}
	defer m.close()
	var found []*backChain
	newest := map[uint32]place{}
	for n < 0 || len(found) < n || len(newest) < len(m.chains) {
		c, err := m.latest(ctx)
		if err != nil {
			return err
		}
		if c == nil {
			break
		}
		if _, ok := newest[c.chain]; !ok {
			newest[c.chain] = c.at
		}
		if n < 0 && !seen[c.chain].before(c.at) {
			c.end()
			continue
		}
		if (n < 0 || len(found) < n) && filter.Wants(c.line) {
			found = append(found, &backChain{line: c.line, text: c.text})
		}
		c.line = nil
	}
	for _, f := range slices.Backward(found) {
		if err := emit(f.text, f.line); err != nil {
			return err
		}
	}
	for chain, at := range newest {
		seen[chain] = at
	}
	return nil
}

// place is where a line begins in a chain. It does not rely on numbers, which anybody can write.
type place struct {
	file   uint64
	offset int64
}

func (p place) before(other place) bool {
	return p.file < other.file || p.file == other.file && p.offset < other.offset
}

// merge reads all chains backward, the newest line first.
type merge struct{ chains []*backChain }

// backChain reads a chain backward.
type backChain struct {
	chain uint32
	limit uint64    // the greatest number
	files []logFile // to be read, the last first
	file  *os.File
	lines *backward
	line  *Line // the next one; nil if it was not read yet
	text  []byte
	at    place
}

// openMerge begins with the lines of from, or at the end if that is nil.
func openMerge(dir string, from Heads) (*merge, error) {
	var list chainList
	var none *Key
	if readSealed(listPath(dir), none, &list) != nil {
		list.Chains, _ = listChains(dir) // at least something is shown
	}
	m := &merge{}
	for _, chain := range list.Chains {
		limit := uint64(math.MaxUint64)
		if i := slices.IndexFunc(from, func(a Anchor) bool { return a.Chain == chain }); i >= 0 {
			limit = from[i].Seq
		} else if from != nil {
			continue // its lines were all read, or it did not exist
		}
		h, _ := readHead(dir, chain, none) // without one, all files are shown
		files, err := listFiles(dir, chain, h.From.Seq)
		if err != nil {
			return nil, err
		}
		m.chains = append(m.chains, &backChain{chain: chain, limit: limit, files: files})
	}
	return m, nil
}

func (m *merge) close() {
	for _, c := range m.chains {
		c.end()
	}
}

// latest returns the chain with the newest line, until that line is taken; nil after the last one. Each chain keeps
// its own order, whatever its clock said.
func (m *merge) latest(ctx context.Context) (latest *backChain, err error) {
	for _, c := range m.chains {
		if err := c.read(ctx); err != nil {
			return nil, err
		}
		if c.line != nil && (latest == nil || c.line.Time >= latest.line.Time) {
			latest = c
		}
	}
	return latest, nil
}

// next returns the line of each chain that comes next.
func (m *merge) next() (next Heads) {
	for _, c := range m.chains {
		if c.line != nil {
			next = append(next, c.line.anchor)
		}
	}
	return next
}

// read reads the next line, unless it was read already.
func (c *backChain) read(ctx context.Context) error {
	for c.line == nil && (c.lines != nil || len(c.files) > 0) {
		if c.lines == nil {
			f := c.files[len(c.files)-1]
			if f.first > c.limit {
				c.files = c.files[:len(c.files)-1]
				continue
			}
			var err error
			if c.file, err = openRegular(f.path); errors.Is(err, fs.ErrNotExist) { // deleted in the meantime
				c.files = nil
				return nil
			}
			if err != nil {
				return err
			}
			c.lines, c.at.file = &backward{file: c.file, at: f.size}, f.first
		}
		text, start, err := c.lines.next()
		if errors.Is(err, io.EOF) {
			_ = c.file.Close() // it was only read
			c.lines, c.files = nil, c.files[:len(c.files)-1]
			continue
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		if link, _ := parseLink(text); link.Seq > c.limit {
			continue
		}
		if l, ok := ParseLine(text); ok && l.Chain == c.chain {
			c.line, c.text, c.at.offset = l, text, start
		}
	}
	return nil
}

// end reads no more of the chain.
func (c *backChain) end() {
	if c.lines != nil {
		_ = c.file.Close() // it was only read
	}
	c.lines, c.files, c.line = nil, nil, nil
}
