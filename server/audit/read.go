package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"
	"time"
)

// Line is a line of a log as it stands there. Whether it is as it was written, Verify says.
type Line struct {
	Anchor
	Fields
	Text  []byte // without its end
	at    time.Time
	place position
}

// position is where a line begins in a chain. It does not rely on numbers, which anybody can write.
type position struct {
	file   uint64
	offset int64
}

func (p position) before(other position) bool {
	return p.file < other.file || p.file == other.file && p.offset < other.offset
}

// ParseLine reads a line without its end, and keeps the text. It returns false if it is not one.
func parseLine(text []byte) (l Line, ok bool) {
	link, ok := parseLink(text)
	if !ok || json.Unmarshal(text, &l.Fields) != nil {
		return Line{}, false
	}
	var err error
	l.at, err = time.Parse(timeLayout, l.Time)
	l.Anchor, l.Text = link.Anchor, text
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
func (r *Reader) Heads() (KnownHeads, error) { return ReadHeads(r.dir, r.key) }

const (
	maxScanned = 50_000 // lines that one page reads: a query that few lines fit is answered in many pages
	// maxOlder is how many lines in a row must be older than a query wants for it to end there: a clock that was put
	// back for a while makes some.
	maxOlder = 10_000
)

// Page is what Reader.Page found.
type Page struct {
	Entries []Entry // the newest first; maybe none although there are more
	Next    Heads   // the lines that the next page begins with; nil after the last page
	Lines   int     // how many were read
}

// Page returns events of all chains, the newest first. The lines that the next page begins with stay valid while lines are added and
// files are deleted. Page reads from the end, in bounded memory.
func (r *Reader) Page(ctx context.Context, q Query) (p Page, err error) {
	m, err := openMerge(ctx, r.dir, q.From, nil)
	if err != nil {
		return p, err
	}
	defer m.close()
	for older := 0; older < maxOlder; p.Lines++ {
		c, err := m.latest()
		if c == nil || err != nil {
			return p, err
		}
		if len(p.Entries) >= q.Limit || p.Lines >= maxScanned {
			p.Next = m.next()
			return p, nil
		}
		if c.line.at.Before(q.Since) {
			older++
		} else if older = 0; q.Matches(c.line) {
			p.Entries = append(p.Entries, bytes.Clone(c.line.Text)) // not the block of the file that it is in
		}
		c.line = nil
	}
	return p, nil
}

const (
	// MaxTail is how many lines Tail goes back at most.
	MaxTail    = 10_000
	followEach = 250 * time.Millisecond
)

// Tail calls emit with the last n lines of all chains that a filter wants, the oldest first, and then, if it is to
// follow, with those that are written until ctx ends.
func Tail(ctx context.Context, dir string, n int, filter *Filter, follow bool, emit func(*Line) error) error {
	seen := map[uint32]position{} // the newest line of each chain
	for n = min(n, MaxTail); ; n = math.MaxInt {
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

// tail emits the last n lines behind those that were seen, and moves these.
func tail(ctx context.Context, dir string, n int, filter *Filter, seen map[uint32]position, emit func(*Line) error) error {
	m, err := openMerge(ctx, dir, nil, seen)
	if err != nil {
		return err
	}
	defer m.close()
	var found []*Line
	c, err := m.latest()
	for _, c := range m.chains {
		if c.line != nil {
			seen[c.chain] = c.line.place
		}
	}
	for ; c != nil && err == nil && len(found) < n; c, err = m.latest() {
		if filter.Matches(c.line) {
			found = append(found, c.line)
		}
		c.line = nil
	}
	for _, l := range slices.Backward(found) {
		if err == nil {
			err = emit(l)
		}
	}
	return err
}

// merge reads all chains backward, the newest line first.
type merge struct{ chains []*mergedChain }

type mergedChain struct {
	chain uint32
	line  *Line // the next one; nil if it was not read yet
	pull  func() (*Line, error, bool)
	stop  func()
}

// openMerge begins with the lines of from, or at the end if that is nil, and ends before those that were seen.
func openMerge(ctx context.Context, dir string, from Heads, seen map[uint32]position) (*merge, error) {
	chains, err := listChains(dir)
	if err != nil {
		return nil, err
	}
	m := &merge{}
	list, listErr := readList(dir, nil)
	for _, chain := range chains {
		limit := uint64(math.MaxUint64)
		i := slices.IndexFunc(from, func(a Anchor) bool { return a.Chain == chain })
		switch {
		case listErr == nil && chain > list.Chains, from != nil && i < 0:
			continue // it is of another log; its lines were all read, or it did not exist
		case i >= 0:
			limit = from[i].Seq
		}
		pull, stop := iter.Pull2(linesBackward(ctx, dir, chain, limit, seen[chain]))
		m.chains = append(m.chains, &mergedChain{chain: chain, pull: pull, stop: stop})
	}
	return m, nil
}

func (m *merge) close() {
	for _, c := range m.chains {
		c.stop()
	}
}

// latest returns the chain with the newest line, until that line is taken; nil after the last one. Each chain keeps
// its own order, whatever its clock said.
func (m *merge) latest() (latest *mergedChain, err error) {
	for _, c := range m.chains {
		if c.line == nil {
			if c.line, err, _ = c.pull(); err != nil {
				return nil, err
			}
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
			next = append(next, c.line.Anchor)
		}
	}
	return next
}

// linesBackward yields the lines of a chain from a number down, to the one behind after.
func linesBackward(ctx context.Context, dir string, chain uint32, limit uint64, after position) iter.Seq2[*Line, error] {
	return func(yield func(*Line, error) bool) {
		pruned := uint64(0)
		if h, err := readHead(dir, chain, nil, ""); err == nil && chain == firstOf(chain) { // or all files are shown
			pruned = h.Pruned
		}
		files, err := listFiles(dir, chain, max(pruned+1, after.file))
		for _, f := range slices.Backward(files) {
			var first Line
			if err == nil && limit < math.MaxUint64 {
				first, err = firstLine(f)
			}
			if err == nil && first.Seq > limit {
				continue
			}
			more := true
			if err == nil {
				more, err = f.backward(ctx, func(l *Line) bool {
					return l.Chain != chain || l.Seq > limit || after.before(l.place) && yield(l, nil)
				})
			}
			if err != nil || !more {
				break
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // deleted in the meantime
			yield(nil, err)
		}
	}
}

// backward calls each with the lines of a file, the last first, until it returns false.
func (f logFile) backward(ctx context.Context, each func(*Line) bool) (more bool, err error) {
	file, err := openFile(f.path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	for text, err := range backward(file, f.size) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return false, fmt.Errorf("audit: %w", err)
		}
		l, ok := parseLine(text.line)
		if l.place = (position{f.number, text.start}); ok && !each(&l) {
			return false, nil
		}
	}
	return true, nil
}
