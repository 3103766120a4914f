package audit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
)

// Query says which events are wanted; the zero Query is all of them, from the newest on.
type Query struct {
	Tenant   string    // empty: of every tenant, and of none
	Action   string    // whole, such as key.open, or its begin with a dot, such as key.
	Severity Severity  // and no other; empty: all
	Class    string    // and no other; empty: all
	Since    time.Time // zero: from the begin of the log
	Before   uint64    // only events of smaller numbers; 0: all
	Limit    int       // how many at most
}

// Entry is an event as the log has it: one JSON object with seq and mac.
type Entry = json.RawMessage

// scanned bounds the lines that one page goes over: a query that fits little is answered in many pages.
const scanned = 100_000

// Page gives events of the log at a path, the newest first, and the number to go on Before; 0 where the log ended. It may be empty though there are
// more. It reads from the end, in bounded memory, and proves nothing: that is for verify.
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

// older is how many lines in a row must be of before the time that is wanted, for it to begin there: a clock that was put back for a while makes some.
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
	l, ok := parseLink(line)
	if !ok || p.query.Before > 0 && l.Seq >= p.query.Before {
		return
	}
	p.at = l.Seq
	var r record
	if json.Unmarshal(line, &r) != nil {
		return
	}
	if !p.query.Since.IsZero() {
		if at, err := time.Parse(timeLayout, r.Time); err == nil && at.Before(p.query.Since) {
			p.older++
			return
		}
		p.older = 0
	}
	if p.query.fits(&r) {
		p.entries = append(p.entries, slices.Clone(line))
	}
}

func (q *Query) fits(r *record) bool {
	action := q.Action == "" || r.Action == q.Action || strings.HasSuffix(q.Action, ".") && strings.HasPrefix(r.Action, q.Action)
	return action && (q.Tenant == "" || r.Tenant == q.Tenant) && (q.Severity == "" || r.Severity == q.Severity) && (q.Class == "" || r.Class == q.Class)
}

// firstOf is the number of a file's first line; 0 where that cannot be told.
func firstOf(path string) uint64 {
	l, err := firstLink(path)
	if err != nil {
		return 0
	}
	return l.Seq
}

// ParseSeverity reads a severity's name.
func ParseSeverity(text string) (Severity, bool) {
	s := Severity(text)
	return s, slices.Contains([]Severity{Info, Notice, Warning, Critical}, s)
}
