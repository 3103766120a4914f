package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/coffer-storage/coffer/shared/codes"
)

// Kind is what is wrong with a log.
type FaultKind string

// The kinds.
const (
	FaultChanged   FaultKind = "changed"   // a line is not as it was written, or something else stands in its place
	FaultRemoved   FaultKind = "removed"   // lines before this one are missing
	FaultInserted  FaultKind = "inserted"  // a line, a file or a chain that does not belong there
	FaultTruncated FaultKind = "truncated" // lines at the end are missing that a head names
	FaultRewritten FaultKind = "rewritten" // the line was made with the key, and is another one than a head names
	FaultRecorded  FaultKind = "altered"   // the chain is in order, and this line records that lines or a head were missing or changed
	FaultHead      FaultKind = "head"      // the list of chains, or the chain's head, is missing or was not made with the key
)

// Fault is the first thing that is wrong with a chain.
type Fault struct {
	Kind   FaultKind `json:"kind"`
	File   string    `json:"file,omitempty"` // its chain and name
	Line   int       `json:"line,omitempty"` // in the file, from 1
	Seq    uint64    `json:"seq"`            // the number of the line that must be there
	Detail string    `json:"detail"`
}

// Verification is what is known of a log.
type Verification struct {
	Chains []*VerifiedChain `json:"chains"`
	Last   Heads            `json:"last"`            // the last lines that are in order
	Heads  Heads            `json:"head"`            // the chains' heads
	Fault  *Fault           `json:"fault,omitempty"` // the first one
}

// VerifiedChain is what is known of a chain.
type VerifiedChain struct {
	Chain     uint32   `json:"chain"`
	FirstSeq  uint64   `json:"from"`            // the number of the first line that must be there: retention deleted the lines before
	FirstTime string   `json:"since,omitempty"` // when that line was written
	Lines     uint64   `json:"lines"`           // that are in order
	Files     int      `json:"files"`
	Torn      []string `json:"torn,omitempty"` // ends of files that were cut short, by a kill or a full disk, or that are being written
	Fault     *Fault   `json:"fault,omitempty"`
}

// ErrAltered means that a log is not as it was written.
var ErrAltered = &codes.Error{Of: "authentication_failed", Text: "the audit log is not as it was written"}

// ErrPruned means that a head cannot be checked.
var ErrPruned = &codes.Error{Of: "invalid_argument", Text: "retention deleted the line that it names, so that it proves nothing: give a later head"}

// Verify reads all chains of a log, with heads of it that were kept elsewhere, and finds the first fault of each.
// Processes may write in the meantime. It calls progress, which may be nil, after each file. It returns ErrPruned, or an error if
// the log cannot be read.
func Verify(ctx context.Context, dir string, key *Key, given Heads, progress func(done, files int)) (v *Verification, err error) {
	for range 3 {
		if v, err = verify(ctx, dir, key, given, progress, func([]byte) {}); !errors.Is(err, fs.ErrNotExist) {
			break // or retention deleted a file in the meantime
		}
	}
	return v, err
}

// Each verifies a log and calls do with the lines that a filter wants, in the order of each chain. It returns
// ErrAltered if Verify finds a fault. After an error, the lines that do was called with must not be used.
func ReadVerified(ctx context.Context, dir string, key *Key, filter *Filter, do func(*Line)) error {
	wanted := []byte(`"action":"` + filter.Action) // is in no other line: quotes within texts are escaped
	v, err := verify(ctx, dir, key, nil, nil, func(text []byte) {
		if !bytes.Contains(text, wanted) {
			return
		}
		if l, ok := parseLine(text); ok && filter.Matches(&l) {
			do(&l)
		}
	})
	if err == nil && v.Fault != nil {
		err = fmt.Errorf("%w: %s: %s:%d: %s", ErrAltered, v.Fault.Kind, v.Fault.File, v.Fault.Line, v.Fault.Detail)
	}
	return err
}

// EachUnproven calls do with the lines of one file that a filter wants, the last first, as they stand there. It proves
// nothing.
func ReadUnverifiedFile(ctx context.Context, path string, filter *Filter, do func(*Line)) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	_, err = logFile{path: path, size: info.Size()}.backward(ctx, func(l *Line) bool {
		if filter.Matches(l) {
			do(l)
		}
		return true
	})
	return err
}

// verify calls each with the lines that are in order, chain by chain.
func verify(
	ctx context.Context, dir string, key *Key, given Heads, progress func(done, files int), each func(text []byte),
) (*Verification, error) {
	result := &Verification{Chains: []*VerifiedChain{}}
	present, err := listChains(dir) // before the list, which names a chain before it has lines
	if err != nil {
		return nil, err
	}
	done, total, begins := 0, 0, map[uint32]logFile{}
	for _, chain := range present {
		files, err := listFiles(dir, chain, 0)
		if err != nil {
			return nil, err
		}
		if total += len(files); len(files) > 0 {
			begins[chain] = files[0]
		}
	}
	passed := func() {
		if done++; progress != nil {
			progress(min(done, total), total) // files may be added
		}
	}
	list, err := readList(dir, key)
	if err != nil {
		result.Fault = &Fault{Kind: FaultHead, File: "chains", Detail: err.Error()}
		return result, nil
	}
	for chain := uint32(1); chain <= list.Chains; chain++ {
		v := &verifier{reader: reader{linker: key.newLinker()}, result: &VerifiedChain{Chain: chain}, passed: passed, each: each}
		if err := v.run(ctx, dir, key, list.Log, given); err != nil {
			return nil, err
		}
		result.Chains = append(result.Chains, v.result)
		result.add(v.result.Fault)
		if v.at.Seq > 0 {
			result.Last = append(result.Last, v.at)
		}
		if v.end.Seq > 0 {
			result.Heads = append(result.Heads, v.end)
		}
	}
	for _, chain := range present {
		if first, ok := begins[chain]; ok && chain > list.Chains {
			result.add(&Fault{Kind: FaultInserted, File: first.name(), Detail: "the log has no such chain"})
		}
	}
	for _, a := range given {
		if a.Chain > list.Chains {
			detail := fmt.Sprintf("the log has no chain %d, of which a head names a line", a.Chain)
			result.add(&Fault{Kind: FaultTruncated, File: "chains", Seq: a.Seq, Detail: detail})
		}
	}
	return result, nil
}

func (v *Verification) add(f *Fault) {
	if v.Fault == nil {
		v.Fault = f
	}
}

// verifier reads a chain.
type verifier struct {
	reader
	end     Anchor // by the chain's head
	result  *VerifiedChain
	anchors map[uint64][]MAC // of the lines that must be there
	told    *Fault           // the first line that records an alteration
	passed  func()           // is called after each file
	each    func(text []byte)
}

// run reads the files of a chain. Retention deletes a file after the head says so, and a line is in a file before the head names it,
// so the head is read before and after the files are listed.
func (v *verifier) run(ctx context.Context, dir string, key *Key, log string, given Heads) error {
	r := v.result
	first, errFirst := readHead(dir, r.Chain, key, log)
	files, err := listFiles(dir, r.Chain, 0)
	if err != nil {
		return err
	}
	later, errLater := readHead(dir, r.Chain, key, log)
	if err := errors.Join(errFirst, errLater); err != nil {
		r.Fault = &Fault{Kind: FaultHead, File: fmt.Sprint(firstOf(r.Chain), "/head"), Detail: err.Error()}
		return nil
	}
	end, _, _ := first.of(r.Chain, key)
	_, from, pruned := later.of(r.Chain, key)
	v.end, v.at = end.Last, from
	v.anchors = map[uint64][]MAC{v.end.Seq: {v.end.MAC}}
	for _, a := range given {
		if a.Chain == r.Chain && a.Seq < from.Seq {
			return fmt.Errorf("audit: the head %s: %w", a, ErrPruned)
		}
		if a.Chain == r.Chain {
			v.anchors[a.Seq] = append(v.anchors[a.Seq], a.MAC)
		}
	}
	extra := "" // a file that retention deleted, and that is there
	for ; len(files) > 0 && files[0].number <= pruned; files = files[1:] {
		if _, err := os.Lstat(files[0].path); err == nil && files[0].number != pruned { // which a kill may leave
			extra = files[0].name()
		}
	}
	r.FirstSeq, r.Files = from.Seq+1, len(files)
	r.Fault, err = v.readAll(ctx, files)
	if r.Fault == nil {
		r.Fault = v.told
	}
	if r.Fault == nil && extra != "" {
		r.Fault = &Fault{Kind: FaultInserted, File: extra, Seq: r.FirstSeq, Detail: "retention deleted the file before"}
	}
	r.Lines = v.at.Seq + 1 - r.FirstSeq
	return err
}

func (v *verifier) readAll(ctx context.Context, files []logFile) (fault *Fault, err error) {
	at := Fault{File: fmt.Sprint(v.result.Chain, "/")} // the last line that was read
	var cut *Fault                                     // the end of the file before, if it is cut short
	fault = v.meet(at)
	for _, f := range files {
		at.File, at.Line = f.name(), 0
		e, err := v.read(ctx, f, 0, func(text []byte) {
			if at.Line, cut = at.Line+1, nil; fault == nil {
				fault = v.accept(at, text)
			}
		})
		if err != nil || fault != nil {
			return fault, err
		}
		v.passed()
		switch {
		case e == nil:
		case e.cutShort:
			v.result.Torn = append(v.result.Torn, fmt.Sprintf("%s:%d", f.name(), e.line))
			cut = &Fault{FaultChanged, f.name(), e.line, v.at.Seq + 1, "it is cut short, and the next file does not go on behind the line before"}
		case cut != nil:
			return cut, nil
		default:
			at.Line++
			return v.classify(at, e.text), nil
		}
	}
	known, next := uint64(0), v.at.Seq+1
	for seq := range v.anchors {
		known = max(known, seq)
	}
	if fault == nil && known > v.at.Seq {
		fault = &Fault{FaultTruncated, at.File, at.Line + 1, next, fmt.Sprintf("a head names line %d, and the chain ends with line %d", known, v.at.Seq)}
	}
	return fault, nil
}

// accept looks at a line that is in order.
func (v *verifier) accept(at Fault, text []byte) *Fault {
	if v.at.Seq == v.result.FirstSeq {
		if l, ok := parseLine(text); ok {
			v.result.FirstTime = l.Time
		}
	}
	if v.told == nil && bytes.Contains(text, alteredAction) {
		v.told = &Fault{FaultRecorded, at.File, at.Line, v.at.Seq, "the line records that lines or a head were missing or changed when it was written"}
	}
	v.each(text)
	return v.meet(at)
}

// alteredAction is in lines with that action, and in no other line of a chain: quotes within texts are escaped.
var alteredAction = []byte(`"action":"` + auditAltered.String() + `"`)

// meet compares the last line with the heads that name its number.
func (v *verifier) meet(at Fault) *Fault {
	if slices.ContainsFunc(v.anchors[v.at.Seq], func(mac MAC) bool { return mac != v.at.MAC }) {
		return &Fault{FaultRewritten, at.File, at.Line, v.at.Seq, "the line is in order, and is another one than a head names"}
	}
	return nil
}

// classify says what is wrong with a text that is not the line that must be there.
func (v *verifier) classify(at Fault, text []byte) *Fault {
	at.Kind, at.Seq, at.Detail = FaultChanged, v.at.Seq+1, "it is not a line"
	l, ok := parseLink(bytes.TrimSuffix(text, []byte{'\n'}))
	switch {
	case !ok:
	case l.Chain != v.at.Chain || l.Seq < at.Seq:
		at.Kind, at.Detail = FaultInserted, "it says that it is line "+l.position()
	case l.Seq > at.Seq:
		at.Kind, at.Detail = FaultRemoved, fmt.Sprintf("lines %d to %d are missing", at.Seq, l.Seq-1)
	default:
		at.Detail = "its MAC is not that of its bytes behind the line before"
	}
	return &at
}
