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

// Line is a line of a log. Only lines from ReadVerified are known to be authentic.
type Line struct {
	Anchor
	Fields
	Text     []byte // the line as it was written, without its newline
	at       time.Time
	position filePosition
}

// filePosition is where a line begins in a chain. Unlike a sequence number, it does not depend on the content of the
// file, which may be forged.
type filePosition struct {
	file   uint64
	offset int64
}

func (p filePosition) before(other filePosition) bool {
	return p.file < other.file || p.file == other.file && p.offset < other.offset
}

// parseLine parses a line without its newline. The result refers to text. It returns false if the text is not a line.
func parseLine(text []byte) (l Line, ok bool) {
	link, ok := parseChainedLine(text)
	if !ok || json.Unmarshal(text, &l.Fields) != nil {
		return Line{}, false
	}
	var err error
	l.at, err = time.Parse(timeLayout, l.Time)
	l.Anchor, l.Text = link.Anchor, text
	return l, err == nil
}

// Entry is a line of the log: one JSON object, with the members of Fields and with chain, seq and mac.
type Entry = json.RawMessage

// Query selects a page of events.
type Query struct {
	Filter
	From  Heads // first line of each chain in the page: Page.Next of the page before; nil begins with the newest event
	Limit int   // most events in the page
}

// Reader reads a log for display. It does not verify the log: use Verify or ReadVerified for that. It is safe for
// concurrent use and needs no closing.
type Reader struct {
	dir string
	key *Key
}

// NewReader returns a reader of the log in a directory. Only Heads uses the key, which may otherwise be nil.
func NewReader(dir string, key *Key) *Reader { return &Reader{dir, key} }

// Heads reads the heads of all chains. It returns ErrHead if one is missing or was not made with the key.
func (r *Reader) Heads() (KnownHeads, error) { return ReadHeads(r.dir, r.key) }

const (
	maxScanned = 50_000 // lines that are read for one page: a query that matches few lines is answered in many pages
	// maxOlderInRow is how many consecutive lines must be older than Query.Since for the query to end. A few can be
	// older because the clock was set back for a while.
	maxOlderInRow = 10_000
)

// Page is a page of events.
type Page struct {
	Entries []Entry // newest first; may be empty although more pages follow
	Next    Heads   // Query.From of the next page; nil after the last page
	Lines   int     // number of lines that were read
}

// Page returns events of all chains, newest first. It reads files from their end, in bounded memory. Page.Next stays
// valid while lines are added and files are deleted. Page returns an error if a file cannot be read.
func (r *Reader) Page(ctx context.Context, q Query) (p Page, err error) {
	m, err := openChains(ctx, r.dir, q.From, nil)
	if err != nil {
		return p, err
	}
	defer m.close()
	for older := 0; older < maxOlderInRow; p.Lines++ {
		c, err := m.newest()
		if c == nil || err != nil {
			return p, err
		}
		if len(p.Entries) >= q.Limit || p.Lines >= maxScanned {
			p.Next = m.nextAnchors()
			return p, nil
		}
		if c.line.at.Before(q.Since) {
			older++
		} else if older = 0; q.Matches(c.line) {
			p.Entries = append(p.Entries, bytes.Clone(c.line.Text)) // without the clone, the entry would keep the whole block of the file in memory
		}
		c.line = nil
	}
	return p, nil
}

const (
	// MaxTail is the largest number of lines that Tail returns from before its call.
	MaxTail        = 10_000
	followInterval = 250 * time.Millisecond
)

// Tail calls emit with the last n lines of all chains that match a filter, oldest first. If follow is set, it then
// calls emit with new lines until ctx ends, and returns nil. It does not verify the lines. It returns the error of
// emit, or that of a file that cannot be read.
func Tail(ctx context.Context, dir string, n int, filter *Filter, follow bool, emit func(*Line) error) error {
	newest := map[uint32]filePosition{} // newest line of each chain that was emitted or skipped
	for n = min(n, MaxTail); ; n = math.MaxInt {
		if err := tail(ctx, dir, n, filter, newest, emit); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followInterval):
		}
	}
}

// tail emits the last n lines behind the newest ones, and advances those.
func tail(ctx context.Context, dir string, n int, filter *Filter, newest map[uint32]filePosition, emit func(*Line) error) error {
	m, err := openChains(ctx, dir, nil, newest)
	if err != nil {
		return err
	}
	defer m.close()
	var found []*Line
	c, err := m.newest()
	for _, c := range m.chains {
		if c.line != nil {
			newest[c.chain] = c.line.position
		}
	}
	for ; c != nil && err == nil && len(found) < n; c, err = m.newest() {
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

// chainMerge reads all chains backward and merges them by time, newest first.
type chainMerge struct{ chains []*mergedChain }

type mergedChain struct {
	chain uint32
	line  *Line // the next line; nil if it was not read yet
	pull  func() (*Line, error, bool)
	stop  func()
}

// openChains starts each chain at its anchor in from, or at its end if from is nil. It stops each chain after the line
// at newest.
func openChains(ctx context.Context, dir string, from Heads, newest map[uint32]filePosition) (*chainMerge, error) {
	chains, err := listChains(dir)
	if err != nil {
		return nil, err
	}
	m := &chainMerge{}
	list, listErr := readChainList(dir, nil)
	for _, chain := range chains {
		limit := uint64(math.MaxUint64)
		i := slices.IndexFunc(from, func(a Anchor) bool { return a.Chain == chain })
		switch {
		case listErr == nil && chain > list.Chains, from != nil && i < 0:
			continue // the chain belongs to another log, was read completely, or did not exist when the query began
		case i >= 0:
			limit = from[i].Seq
		}
		pull, stop := iter.Pull2(linesBackward(ctx, dir, chain, limit, newest[chain]))
		m.chains = append(m.chains, &mergedChain{chain: chain, pull: pull, stop: stop})
	}
	return m, nil
}

func (m *chainMerge) close() {
	for _, c := range m.chains {
		c.stop()
	}
}

// newest returns the chain with the newest line, or nil after the last line. The caller sets the chain's line to nil to
// take it. The lines of one chain stay in their order, even if its clock was set back.
func (m *chainMerge) newest() (newest *mergedChain, err error) {
	for _, c := range m.chains {
		if c.line == nil {
			if c.line, err, _ = c.pull(); err != nil {
				return nil, err
			}
		}
		if c.line != nil && (newest == nil || c.line.Time >= newest.line.Time) {
			newest = c
		}
	}
	return newest, nil
}

// nextAnchors returns the next line of each chain.
func (m *chainMerge) nextAnchors() (nextAnchors Heads) {
	for _, c := range m.chains {
		if c.line != nil {
			nextAnchors = append(nextAnchors, c.line.Anchor)
		}
	}
	return nextAnchors
}

// linesBackward yields the lines of a chain, from the line with number limit backward to the line behind the position
// after.
func linesBackward(ctx context.Context, dir string, chain uint32, limit uint64, after filePosition) iter.Seq2[*Line, error] {
	return func(yield func(*Line, error) bool) {
		pruned := uint64(0)
		if h, err := readHead(dir, chain, nil, ""); err == nil && chain == firstOfPair(chain) { // without a readable head, all files are shown
			pruned = h.LastPruned
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
				more, err = f.linesFromEnd(ctx, func(l *Line) bool {
					return l.Chain != chain || l.Seq > limit || after.before(l.position) && yield(l, nil)
				})
			}
			if err != nil || !more {
				break
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // retention may have deleted the file since it was listed
			yield(nil, err)
		}
	}
}

// linesFromEnd calls each with the lines of a file, last line first, until it returns false.
func (f logFile) linesFromEnd(ctx context.Context, each func(*Line) bool) (more bool, err error) {
	file, err := openFile(f.path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	for text, err := range readBackward(file, f.size) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return false, fmt.Errorf("audit: %w", err)
		}
		l, ok := parseLine(text.line)
		if l.position = (filePosition{f.number, text.start}); ok && !each(&l) {
			return false, nil
		}
	}
	return true, nil
}
