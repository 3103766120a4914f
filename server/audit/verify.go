package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Kind is what is wrong with a log.
type Kind string

// The kinds. Where a fault can be told from its like only by who made it, the kind is the likeliest; so is
// the line, where that is the one behind what a killed process left.
const (
	Changed   Kind = "changed"   // a line is not as it was written
	Removed   Kind = "removed"   // lines before this one are missing
	Inserted  Kind = "inserted"  // a line that was never written here, or is there twice
	Reordered Kind = "reordered" // lines stand in another order
	Truncated Kind = "truncated" // lines at the end are missing
	Torn      Kind = "torn"      // the last line is cut short, and was whole when the head was noted
	Rewritten Kind = "rewritten" // from this line on it is another log than the one that the head, or an anchor, is of
	Told      Kind = "altered"   // the log is in order, and this line tells that a process that wrote it found lines or the head missing or changed
	NoHead    Kind = "head"      // the head is missing, or was not made with the key
)

// Fault is the first thing that is wrong.
type Fault struct {
	Kind   Kind   `json:"kind"`
	File   string `json:"file,omitempty"` // its name
	Line   int    `json:"line,omitempty"` // in the file, from 1
	Seq    uint64 `json:"seq"`            // the number of the line that must be there
	Detail string `json:"detail"`
}

// Verification is what is known of a log.
type Verification struct {
	From      uint64   `json:"from"`            // the number of the first line that must be there: all before it were deleted by retention
	Since     string   `json:"since,omitempty"` // when that was written: a log that was taken away whole began anew then
	Last      uint64   `json:"last"`            // of the last line that is in order
	MAC       string   `json:"mac"`             // its
	Lines     uint64   `json:"lines"`           // that are in order
	Files     int      `json:"files"`
	Head      string   `json:"head,omitempty"`      // the anchor of the head
	Torn      []string `json:"torn,omitempty"`      // where a line tells that a process was killed while it wrote: nobody was told that what is cut short was recorded
	End       string   `json:"end,omitempty"`       // where the last line is cut short, and none tells of it yet
	Unchecked []string `json:"unchecked,omitempty"` // anchors of before From
	Fault     *Fault   `json:"fault,omitempty"`
	Breaks    []Breaks `json:"breaks,omitempty"` // where there is a fault: how many there are, in the files that have any
}

// Breaks is in how many places of a file a line does not follow what stands before it. Behind each the rest
// is held to the line as it stands there.
type Breaks struct {
	File  string `json:"file"`
	Count int    `json:"count"`
}

// verifier goes over a log.
type verifier struct {
	*source
	walk
	result  *Verification
	anchors map[uint64][]MAC
	told    *Fault            // the first line that tells of an alteration; nil where there is none
	began   located           // where what is no line began
	each    func(text []byte) // is told every line that is in order; may be nil
}

// located is a place in a log.
type located struct {
	file string
	line int
}

// Verify goes over all files of a log, with what is kept of them elsewhere, and finds the first fault, if
// any. Others may write meanwhile. It returns an error where the log cannot be read.
func Verify(ctx context.Context, path string, key *Key, anchors []Anchor, progress func(done, total int64)) (*Verification, error) {
	return run(ctx, path, key, anchors, progress, nil)
}

func run(ctx context.Context, path string, key *Key, anchors []Anchor, progress func(done, total int64), each func(text []byte)) (*Verification, error) {
	s, err := openSource(path, key, progress)
	if err != nil {
		return nil, err
	}
	defer s.close()
	v := &verifier{source: s, walk: walk{chain: key.newChain(), at: s.head.From}, anchors: map[uint64][]MAC{}, each: each}
	v.result = &Verification{From: v.at.Seq + 1, Files: len(s.files)}
	if s.headErr == nil {
		v.result.Head = s.head.Anchor.String()
		anchors = append(anchors[:len(anchors):len(anchors)], s.head.Anchor)
	}
	for _, a := range anchors {
		if a.Seq < v.at.Seq {
			v.result.Unchecked = append(v.result.Unchecked, a.String())
			continue
		}
		v.anchors[a.Seq] = append(v.anchors[a.Seq], a.MAC)
	}
	v.result.Fault, err = v.run(ctx)
	if v.result.Fault == nil {
		v.result.Fault = v.told
	}
	if v.result.Fault == nil && s.left != "" {
		v.result.Fault = &Fault{Kind: Inserted, File: s.left, Seq: v.result.From, Detail: "a file of this name was deleted by retention, as the head tells, and none of it is read"}
	}
	v.result.Last, v.result.MAC, v.result.Lines = v.at.Seq, v.at.MAC.String(), v.at.Seq+1-v.result.From
	if err == nil && v.result.Fault != nil {
		v.result.Breaks, err = countBreaks(ctx, path, key)
	}
	if s.headErr != nil && (v.result.Fault == nil || v.result.Lines == 0) {
		v.result.Fault = &Fault{Kind: NoHead, Seq: v.at.Seq, Detail: s.headErr.Error()}
	}
	return v.result, err
}

func (v *verifier) run(ctx context.Context) (*Fault, error) {
	if f := v.meets(); f != nil {
		return f, nil
	}
	for {
		p, err := v.next(ctx)
		if errors.Is(err, io.EOF) {
			return v.atEnd(), nil
		}
		if err != nil {
			return nil, err
		}
		torn, before := v.rest.bytes, v.at
		if torn == 0 {
			v.began = located{v.name, v.number}
		}
		if !v.take(p) {
			return v.classify(ctx, p)
		}
		if v.at == before {
			continue
		}
		if v.at.Seq == v.result.From {
			if l, ok := ParseLine(p.line()); ok {
				v.result.Since = l.Time
			}
		}
		if v.told == nil && bytes.Contains(p.text, alteredAction) {
			v.told = &Fault{Told, v.name, v.number, v.at.Seq, "the line tells that lines or the head were missing or changed when it was written"}
		}
		if v.each != nil {
			v.each(p.line())
		}
		if torn > 0 {
			v.result.Torn = append(v.result.Torn, v.cutShort(torn))
		}
		if f := v.meets(); f != nil {
			return f, nil
		}
	}
}

func (v *verifier) cutShort(bytes int64) string {
	return fmt.Sprintf("%s:%d: %d bytes", v.began.file, v.began.line, bytes)
}

// meets holds the last line to the anchors of its number.
func (v *verifier) meets() *Fault {
	for _, mac := range v.anchors[v.at.Seq] {
		if mac != v.at.MAC {
			return &Fault{Rewritten, v.name, v.number, v.at.Seq, "the line is in order, and is another one than the head or an anchor names"}
		}
	}
	delete(v.anchors, v.at.Seq)
	return nil
}

// atEnd looks at what is behind the last line, and what should be.
func (v *verifier) atEnd() *Fault {
	known := uint64(0)
	for seq := range v.anchors {
		known = max(known, seq)
	}
	switch {
	case known == 0 && v.rest.other:
		return &Fault{Inserted, v.began.file, v.began.line, v.at.Seq + 1, "it is no line, and none that was cut short"}
	case known == 0 && v.rest.bytes > 0:
		v.result.End = v.cutShort(v.rest.bytes)
		return nil
	case known == 0:
		return nil
	}
	f := &Fault{Truncated, v.name, v.number + 1, v.at.Seq + 1, fmt.Sprintf("the head or an anchor names line %d, and it ends with line %d", known, v.at.Seq)}
	if v.rest.bytes > 0 {
		f.Kind, f.File, f.Line = Torn, v.began.file, v.began.line
	}
	if v.rest.other {
		f.Kind, f.Detail = Changed, fmt.Sprintf("it is no line, where line %d must be", f.Seq)
	}
	return f
}

// classify says what is wrong where a piece is not the line that must be there. It reads the log on where that tells.
func (v *verifier) classify(ctx context.Context, p piece) (*Fault, error) {
	l, _ := parseLink(p.line())
	want, mac := v.at.Seq+1, l.MAC
	f := &Fault{File: v.name, Line: v.number, Seq: want}
	if v.rest.bytes > 0 && (l.Seq > want || v.follows(v.at, l)) {
		f.File, f.Line = v.began.file, v.began.line
	}
	switch {
	case v.rest.bytes > 0 && l.Seq > want:
		f.Kind, f.Detail = Changed, fmt.Sprintf("it is no line, where line %d must be", want)
		return f, nil
	case v.rest.bytes > 0 && v.follows(v.at, l):
		f.Kind, f.Detail = Inserted, "it is no line, and the next line does not tell of it"
		return f, nil
	case v.follows(v.at, l):
		f.Kind, f.Detail = Removed, "what a killed process left before it, and it tells of, is missing"
		return f, nil
	case l.Seq < want:
		f.Kind, f.Detail = Inserted, fmt.Sprintf("it says that it is line %d, which is before", l.Seq)
		return f, nil
	}
	later, linked, err := v.lookAhead(ctx, want, mac)
	switch {
	case err != nil:
		return nil, err
	case l.Seq > want && later:
		f.Kind, f.Detail = Reordered, fmt.Sprintf("it says that it is line %d, and line %d comes later", l.Seq, want)
	case l.Seq > want:
		f.Kind, f.Detail = Removed, fmt.Sprintf("lines %d to %d are missing", want, l.Seq-1)
	case linked:
		f.Kind, f.Detail = Changed, "its MAC is not that of its bytes behind the line before"
	default:
		f.Kind, f.Detail = Rewritten, "no line from here on was made with the key"
	}
	return f, nil
}

// lookAhead reports whether a line of a number comes later, and whether any line behind this one follows what
// stands before it, or there is none.
func (v *verifier) lookAhead(ctx context.Context, want uint64, mac MAC) (later, linked bool, err error) {
	for any := false; ; any = true {
		p, err := v.next(ctx)
		if errors.Is(err, io.EOF) {
			return later, linked || !any, nil
		}
		if err != nil {
			return false, false, err
		}
		if l, ok := parseLink(p.line()); ok && p.whole {
			later, linked = later || l.Seq == want, linked || v.link(mac, l.body) == l.MAC
			mac = l.MAC
		}
	}
}
