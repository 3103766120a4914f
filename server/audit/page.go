package audit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"
)

// Query says which events a page is of.
type Query struct {
	Filter
	Before uint64 // only events of smaller numbers; 0: from the newest on
	Limit  int    // how many at most
}

// Entry is an event as the log has it: one JSON object with seq and mac.
type Entry = json.RawMessage

// scanned bounds the lines that one page goes over: a query that fits little is answered in many pages.
const scanned = 100_000

// Page gives events of the log at a path, the newest first, and the number to go on Before; 0 where the log
// ended. It may be empty though there are more. It reads from the end, in bounded memory, and proves nothing:
// that is for verify.
func Page(ctx context.Context, path string, q Query) (entries []Entry, next uint64, err error) {
	files, err := Files(path)
	if err != nil {
		return nil, 0, err
	}
	p := page{query: q}
	for _, file := range slices.Backward(files) {
		if q.Before > 0 && firstOf(file) >= q.Before {
			continue
		}
		if done, err := p.read(ctx, file); done || err != nil {
			return p.entries, p.at, err
		}
	}
	return p.entries, 0, nil
}

// page is one that is being read.
type page struct {
	query   Query
	entries []Entry
	lines   int
	older   int    // lines in a row, up to the one that was read last, of before the time that is wanted
	at      uint64 // the number of the line that was read last
}

// older is how many lines in a row must be of before the time that is wanted, for it to begin there: a clock
// that was put back for a while makes some.
const older = 10_000

// read goes over a file from its end, and reports whether the page is full or the time that is wanted begins.
func (p *page) read(ctx context.Context, path string) (done bool, err error) {
	file, info, err := openRegular(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	for lines := newBackward(file, info.Size()); ; {
		line, _, err := lines.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return false, err
		}
		p.lines++
		if p.take(line); p.older >= older {
			p.at = 0 // nothing earlier is wanted
			return true, nil
		}
		if p.at > 0 && (len(p.entries) >= p.query.Limit || p.lines >= scanned) {
			return true, nil
		}
	}
}

// take adds a line that fits.
func (p *page) take(line []byte) {
	link, ok := parseLink(line)
	if !ok || p.query.Before > 0 && link.Seq >= p.query.Before {
		return
	}
	p.at = link.Seq
	l, ok := ParseLine(line)
	if !ok {
		return
	}
	if at, err := time.Parse(timeLayout, l.Time); err == nil && at.Before(p.query.Since) {
		p.older++
		return
	}
	if p.older = 0; p.query.Wants(l) {
		p.entries = append(p.entries, slices.Clone(line))
	}
}

// firstOf is the number of a file's first line; 0 where that cannot be told.
func firstOf(path string) uint64 {
	l, err := firstLink(path)
	if err != nil {
		return 0
	}
	return l.Seq
}
