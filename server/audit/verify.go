package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/coffer-storage/coffer/shared/codes"
)

// Kind is what is wrong with a log.
type Kind string

// The kinds. If a fault can be of several kinds or at several lines, the likeliest is reported.
const (
	Changed   Kind = "changed"   // a line is not as it was written
	Removed   Kind = "removed"   // lines before this one are missing
	Inserted  Kind = "inserted"  // a line that was never written here, or is there twice
	Reordered Kind = "reordered" // lines stand in another order
	Truncated Kind = "truncated" // lines at the end are missing
	Torn      Kind = "torn"      // the last line is cut short, and was whole when the head was noted
	Rewritten Kind = "rewritten" // from this line on it is another chain than the one that a head names
	Told      Kind = "altered"   // the chain is in order, and this line records that lines or the head were missing or changed
	NoHead    Kind = "head"      // the list of chains, or the chain's head, is missing or was not made with the key
)

// Fault is the first thing that is wrong with a chain.
type Fault struct {
	Kind   Kind   `json:"kind"`
	File   string `json:"file,omitempty"` // its chain and name
	Line   int    `json:"line,omitempty"` // in the file, from 1
	Seq    uint64 `json:"seq"`            // the number of the line that must be there
	Detail string `json:"detail"`
}

// Verification is what is known of a log.
type Verification struct {
	Chains    []*VerifiedChain `json:"chains"`
	Last      string           `json:"last"`                // the last lines that are in order, as Heads
	Head      string           `json:"head"`                // the chains' heads
	Unchecked []string         `json:"unchecked,omitempty"` // given heads that retention deleted
	Fault     *Fault           `json:"fault,omitempty"`     // of the first chain that has one
}

// VerifiedChain is what is known of a chain.
type VerifiedChain struct {
	Chain uint32   `json:"chain"`
	From  uint64   `json:"from"`            // the number of the first line that must be there: retention deleted the lines before
	Since string   `json:"since,omitempty"` // when that line was written
	Lines uint64   `json:"lines"`           // that are in order
	Files int      `json:"files"`
	Torn  []string `json:"torn,omitempty"` // beginnings of lines that killed processes left, each recorded by the next line
	End   string   `json:"end,omitempty"`  // the beginning of a line at the end, which a killed process left or a process is writing
	Fault *Fault   `json:"fault,omitempty"`
}

// ErrAltered means that a log is not as it was written.
var ErrAltered = &codes.Error{Of: "authentication_failed", Text: "the audit log is not as it was written"}

// Verify reads all chains of a log, with heads of it that were kept elsewhere, and finds the first fault of each.
// Processes may write in the meantime. It returns an error if the log cannot be read.
func Verify(ctx context.Context, dir string, key *Key, given Heads, progress func(done, total int64)) (v *Verification, err error) {
	for range 3 {
		if v, err = verify(ctx, dir, key, given, progress, nil); !errors.Is(err, fs.ErrNotExist) {
			break // or retention deleted a file in the meantime
		}
	}
	return v, err
}

// Each verifies a log and calls do with the lines that a filter wants, in the order of each chain. It returns
// ErrAltered if Verify finds a fault. After an error, what do was called with must not be used.
func Each(ctx context.Context, dir string, key *Key, filter *Filter, do func(*Line)) error {
	v, err := verify(ctx, dir, key, nil, nil, func(text []byte) {
		if l, ok := ParseLine(text); ok && filter.Wants(l) {
			do(l)
		}
	})
	if err == nil && v.Fault != nil {
		err = fmt.Errorf("%w: %s: %s:%d: %s", ErrAltered, v.Fault.Kind, v.Fault.File, v.Fault.Line, v.Fault.Detail)
	}
	return err
}

// EachUnproven calls do with the lines of one file that a filter wants, as they stand there. It proves
// nothing.
func EachUnproven(ctx context.Context, path string, filter *Filter, do func(*Line)) error {
	s := source{files: []logFile{{path: path, size: math.MaxInt64}}}
	for p, err := range s.all(ctx) {
		if err != nil {
			return err
		}
		if l, ok := ParseLine(p.line()); ok && p.whole && filter.Wants(l) {
			do(l)
		}
	}
	return nil
}

func verify(ctx context.Context, dir string, key *Key, given Heads, progress func(done, total int64), each func(text []byte)) (*Verification, error) {
	var list chainList
	listErr := readSealed(listPath(dir), key, &list)
	chains, err := listChains(dir)
	if err != nil {
		return nil, err
	}
	chains = append(chains, list.Chains...)
	for _, a := range given {
		chains = append(chains, a.Chain)
	}
	slices.Sort(chains)
	var all []*verifier
	done, total := int64(0), int64(0)
	for _, chain := range slices.Compact(chains) {
		v, err := newVerifier(dir, key, chain, given)
		if err != nil {
			return nil, err
		}
		if listErr == nil && !slices.Contains(list.Chains, chain) {
			if len(v.files) == 0 && len(v.anchors) == 0 {
				continue // a process was killed before it began the chain
			}
			if len(v.files) > 0 {
				v.strange = v.files[0].name()
			}
		}
		v.each = each
		for _, f := range v.files {
			total += f.size
		}
		all = append(all, v)
	}
	var named Heads
	for _, v := range all {
		v.count = func(n int) {
			if done += int64(n); progress != nil {
				progress(done, total)
			}
		}
		if err := v.run(ctx); err != nil {
			return nil, err
		}
		named = append(named, v.named...)
	}
	for _, a := range named { // of a chain that is not listed: it was taken away, or has begun since
		if slices.ContainsFunc(all, func(v *verifier) bool { return v.result.Chain == a.Chain }) {
			continue
		}
		v, err := newVerifier(dir, key, a.Chain, named)
		if err == nil {
			v.each = each
			err = v.run(ctx)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	for _, v := range all { // once more, with the heads that lines of other chains name
		own := func(a Anchor) bool { return a.Chain == v.result.Chain && a.Seq >= v.result.From }
		if v.result.Fault != nil || !slices.ContainsFunc(named, own) {
			continue
		}
		again, err := newVerifier(dir, key, v.result.Chain, named)
		if err == nil {
			err = again.run(ctx)
		}
		if err != nil {
			return nil, err
		}
		v.result.Fault = again.result.Fault
	}
	return summarize(all, listErr), nil
}

func summarize(all []*verifier, listErr error) *Verification {
	result := &Verification{}
	var last, heads Heads
	for _, v := range all {
		result.Chains, result.Unchecked = append(result.Chains, v.result), append(result.Unchecked, v.unchecked...)
		if v.at.Seq > 0 {
			last = append(last, v.at)
		}
		if v.head.Head.Seq > 0 {
			heads = append(heads, v.head.Head)
		}
		if result.Fault == nil {
			result.Fault = v.result.Fault
		}
	}
	if result.Fault == nil && listErr != nil {
		result.Fault = &Fault{Kind: NoHead, File: "chains", Detail: listErr.Error()}
	}
	result.Last, result.Head = last.String(), heads.String()
	return result
}

// verifier reads a chain.
type verifier struct {
	source
	walk
	head      head
	headErr   error
	strange   string // a file that must not be there; empty if there is none
	result    *VerifiedChain
	anchors   map[uint64][]MAC // of the lines that must be there
	unchecked []string         // anchors of lines that retention deleted
	named     Heads            // of other chains, by lines of this one
	told      *Fault           // the first line that records an alteration
	began     Fault            // the place of the first piece of the rest
	each      func(text []byte)
	count     func(bytes int)
}

// newVerifier looks at the files of a chain. Retention deletes a file after the head says so, and a line is in a file
// before the head names it, so the head is read before and after.
func newVerifier(dir string, key *Key, chain uint32, given Heads) (*verifier, error) {
	v := &verifier{anchors: map[uint64][]MAC{}}
	first, _ := readHead(dir, chain, key)
	files, err := listFiles(dir, chain, 0)
	if err != nil {
		return nil, err
	}
	if v.head, v.headErr = readHead(dir, chain, key); v.headErr == nil {
		v.head.Head, given = first.Head, append(given[:len(given):len(given)], first.Head)
	}
	v.head.Head.Chain = chain
	v.walk = walk{linker: key.newLinker(), at: v.head.from()}
	for _, f := range files {
		if f.first > v.at.Seq {
			v.files = append(v.files, f)
		} else if _, err := os.Lstat(f.path); err == nil && f.first != v.head.Pruned {
			v.strange = f.name()
		}
	}
	v.result = &VerifiedChain{Chain: chain, From: v.at.Seq + 1, Files: len(v.files)}
	for _, a := range given {
		switch {
		case a.Chain == chain && a.Seq < v.at.Seq:
			v.unchecked = append(v.unchecked, a.String())
		case a.Chain == chain:
			v.anchors[a.Seq] = append(v.anchors[a.Seq], a.MAC)
		}
	}
	return v, nil
}

func (v *verifier) run(ctx context.Context) (err error) {
	r := v.result
	r.Fault, err = v.read(ctx)
	if r.Fault == nil {
		r.Fault = v.told
	}
	if r.Fault == nil && v.strange != "" {
		r.Fault = &Fault{Kind: Inserted, File: v.strange, Seq: r.From, Detail: "the log has no such chain, or the file was deleted by retention"}
	}
	if r.Lines = v.at.Seq + 1 - r.From; v.headErr != nil && (r.Fault == nil || r.Lines == 0) && v.strange == "" {
		r.Fault = &Fault{Kind: NoHead, File: fmt.Sprint(r.Chain, "/head"), Seq: v.at.Seq, Detail: v.headErr.Error()}
	}
	return err
}

// fault is one at the piece that was read last.
func (v *verifier) fault(kind Kind, seq uint64, format string, values ...any) *Fault {
	return &Fault{kind, v.name, v.number, seq, fmt.Sprintf(format, values...)}
}

// atRest is a fault where the rest began.
func (v *verifier) atRest(kind Kind, seq uint64, format string, values ...any) *Fault {
	return &Fault{kind, v.began.File, v.began.Line, seq, fmt.Sprintf(format, values...)}
}

func (v *verifier) read(ctx context.Context) (*Fault, error) {
	if f := v.meets(); f != nil {
		return f, nil
	}
	for p, err := range v.all(ctx) {
		if err != nil {
			return nil, err
		}
		if v.count != nil {
			v.count(len(p.text))
		}
		torn, before := v.rest.bytes, v.at
		if torn == 0 {
			v.began = Fault{File: v.name, Line: v.number}
		}
		if !v.take(p) {
			return v.classify(ctx, p)
		}
		if v.at == before {
			continue
		}
		if torn > 0 {
			v.result.Torn = append(v.result.Torn, v.cutShort(torn))
		}
		v.accept(p)
		if f := v.meets(); f != nil {
			return f, nil
		}
	}
	return v.atEnd(), nil
}

// accept looks at a line that is in order.
func (v *verifier) accept(p piece) {
	if v.at.Seq == v.result.From {
		if l, ok := ParseLine(p.line()); ok {
			v.result.Since = l.Time
		}
	}
	v.named = append(v.named, v.last.heads()...)
	if v.told == nil && bytes.Contains(p.text, alteredAction) {
		v.told = v.fault(Told, v.at.Seq, "the line records that lines or the head were missing or changed when it was written")
	}
	if v.each != nil {
		v.each(p.line())
	}
}

func (v *verifier) cutShort(bytes int64) string {
	return fmt.Sprintf("%s:%d: %d bytes", v.began.File, v.began.Line, bytes)
}

// meets compares the last line with the anchors of its number.
func (v *verifier) meets() *Fault {
	for _, mac := range v.anchors[v.at.Seq] {
		if mac != v.at.MAC {
			return v.fault(Rewritten, v.at.Seq, "the line is in order, and is another one than a head names")
		}
	}
	delete(v.anchors, v.at.Seq)
	return nil
}

// atEnd looks at what is behind the last line, and at what should be.
func (v *verifier) atEnd() *Fault {
	known, next := uint64(0), v.at.Seq+1
	for seq := range v.anchors {
		known = max(known, seq)
	}
	switch {
	case v.rest.other && known == 0:
		return v.atRest(Inserted, next, "it is not a line, nor one that was cut short")
	case v.rest.other:
		return v.atRest(Changed, next, "it is not a line, where line %d must be", next)
	case v.rest.bytes > 0 && known == 0:
		v.result.End = v.cutShort(v.rest.bytes)
	case v.rest.bytes > 0:
		return v.atRest(Torn, next, "a head names line %d, and this one is cut short", known)
	case known > 0:
		v.number++
		return v.fault(Truncated, next, "a head names line %d, and the chain ends with line %d", known, v.at.Seq)
	}
	return nil
}

// classify finds out what is wrong with a piece that is not the line that must be there. It may read the chain on.
func (v *verifier) classify(ctx context.Context, p piece) (*Fault, error) {
	l, _ := parseLink(p.line())
	want, follows := v.at.Seq+1, v.follows(v.at, l)
	switch {
	case v.rest.bytes > 0 && follows:
		return v.atRest(Inserted, want, "it is not a line, and the next line does not record it"), nil
	case v.rest.bytes > 0 && l.Seq > want:
		return v.atRest(Changed, want, "it is not a line, where line %d must be", want), nil
	case follows:
		return v.fault(Removed, want, "what a killed process left before it, and it records, is missing"), nil
	case l.Chain != v.at.Chain || l.Seq < want:
		return v.fault(Inserted, want, "it says that it is line %s", l.position()), nil
	}
	f := v.fault(Changed, want, "its MAC is not that of its bytes behind the line before")
	later, linked, err := v.lookAhead(ctx, want, l.MAC)
	switch {
	case l.Seq > want && later:
		f.Kind, f.Detail = Reordered, fmt.Sprintf("it says that it is line %d, and line %d comes later", l.Seq, want)
	case l.Seq > want:
		f.Kind, f.Detail = Removed, fmt.Sprintf("lines %d to %d are missing", want, l.Seq-1)
	case !linked:
		f.Kind, f.Detail = Rewritten, "no line from here on was made with the key"
	}
	return f, err
}

// lookAhead reports whether a line of a number comes later, and whether any line behind this one follows what stands
// before it, or this one is the last.
func (v *verifier) lookAhead(ctx context.Context, want uint64, mac MAC) (later, linked bool, err error) {
	any := false
	for p, err := range v.all(ctx) {
		if err != nil {
			return false, false, err
		}
		if l, ok := parseLink(p.line()); ok && p.whole {
			later, linked = later || l.Seq == want, linked || v.link(mac, l.body) == l.MAC
			mac = l.MAC
		}
		any = true
	}
	return later, linked || !any, nil
}
