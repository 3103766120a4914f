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

// FaultKind classifies a fault of a log.
type FaultKind string

// The kinds of faults.
const (
	FaultChanged   FaultKind = "changed"   // a line was changed, or its place has another text
	FaultRemoved   FaultKind = "removed"   // lines before this one are missing
	FaultInserted  FaultKind = "inserted"  // a line, a file or a chain was added
	FaultTruncated FaultKind = "truncated" // lines that a head names are missing from the end
	FaultRewritten FaultKind = "rewritten" // the line was made with the key, but a head names another line with the same number
	FaultRecorded  FaultKind = "altered"   // the chain is intact, but this line records that lines or a head were missing or changed earlier
	FaultHead      FaultKind = "head"      // the list of chains, or the head of the chain, is missing or was not made with the key
)

// Fault is the first fault of a chain.
type Fault struct {
	Kind   FaultKind `json:"kind"`
	File   string    `json:"file,omitempty"` // chain and name of the file
	Line   int       `json:"line,omitempty"` // line number in the file, from 1
	Seq    uint64    `json:"seq"`            // sequence number of the line that is expected there
	Detail string    `json:"detail"`
}

// Verification is the result of Verify.
type Verification struct {
	Chains []*VerifiedChain `json:"chains"`
	Last   Heads            `json:"last"`            // the last intact line of each chain
	Heads  Heads            `json:"head"`            // the lines that the chains' heads name
	Fault  *Fault           `json:"fault,omitempty"` // the first fault; nil if the log is intact
}

// VerifiedChain is the result for one chain.
type VerifiedChain struct {
	Chain     uint32   `json:"chain"`
	FirstSeq  uint64   `json:"from"`            // sequence number of the first line that must exist; retention deleted the lines before
	FirstTime string   `json:"since,omitempty"` // when that line was written
	Lines     uint64   `json:"lines"`           // number of intact lines
	Files     int      `json:"files"`
	Torn      []string `json:"torn,omitempty"` // places where a line was cut short by a kill or a full disk, or is being written
	Fault     *Fault   `json:"fault,omitempty"`
}

// ErrAltered reports that a log was altered.
var ErrAltered = &codes.Error{ErrorCode: "authentication_failed", Message: "the audit log was altered"}

// ErrPruned reports that retention deleted the line that a given head names, so the head cannot be checked.
var ErrPruned = &codes.Error{ErrorCode: "invalid_argument", Message: "retention deleted the line that this head names, so it cannot be checked: give a later head"}

// Verify reads all chains of a log and returns the first fault of each chain. given are heads that were kept elsewhere,
// to compare the log with; it may be nil. Processes may write to the log concurrently. Verify calls progress, which may
// be nil, after each file. A fault is not an error: look at Verification.Fault. Verify returns ErrPruned if it cannot
// check a given head, or an error if the log cannot be read.
func Verify(ctx context.Context, dir string, key *Key, given Heads, progress func(done, files int)) (v *Verification, err error) {
	for range 3 {
		if v, err = verify(ctx, dir, key, given, progress, func([]byte) {}); !errors.Is(err, fs.ErrNotExist) {
			break // or retention deleted a file since it was listed: try again
		}
	}
	return v, err
}

// ReadVerified verifies a log and calls onLine with the lines that match a filter, in the order of each chain. It
// returns ErrAltered if Verify would find a fault. Discard the lines if it returns an error, because it finds some
// faults only at the end.
func ReadVerified(ctx context.Context, dir string, key *Key, filter *Filter, onLine func(*Line)) error {
	pattern := []byte(`"action":"` + filter.Action) // not in other lines, because quotation marks within strings are escaped
	v, err := verify(ctx, dir, key, nil, nil, func(text []byte) {
		if !bytes.Contains(text, pattern) {
			return
		}
		if l, ok := parseLine(text); ok && filter.Matches(&l) {
			onLine(&l)
		}
	})
	if err == nil && v.Fault != nil {
		err = fmt.Errorf("%w: %s: %s:%d: %s", ErrAltered, v.Fault.Kind, v.Fault.File, v.Fault.Line, v.Fault.Detail)
	}
	return err
}

// ReadUnverifiedFile calls onLine with the lines of one file that match a filter, last line first. It checks no MAC, so
// anyone who can write to the file may have forged its lines.
func ReadUnverifiedFile(ctx context.Context, path string, filter *Filter, onLine func(*Line)) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	_, err = logFile{path: path, size: info.Size()}.linesFromEnd(ctx, func(l *Line) bool {
		if filter.Matches(l) {
			onLine(l)
		}
		return true
	})
	return err
}

// verify verifies all chains, and calls each with every intact line.
func verify(
	ctx context.Context, dir string, key *Key, given Heads, progress func(done, files int), each func(text []byte),
) (*Verification, error) {
	result := &Verification{Chains: []*VerifiedChain{}}
	present, err := listChains(dir) // read before the list, which names a chain before the chain has lines
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
			progress(min(done, total), total) // other processes may add files
		}
	}
	list, err := readChainList(dir, key)
	if err != nil {
		result.Fault = &Fault{Kind: FaultHead, File: "chains", Detail: err.Error()}
		return result, nil
	}
	for chain := uint32(1); chain <= list.Chains; chain++ {
		v := &verifier{chainReader: chainReader{lineMAC: key.newLineMAC()}, result: &VerifiedChain{Chain: chain}, fileDone: passed, onLine: each}
		if err := v.verifyChain(ctx, dir, key, list.Log, given); err != nil {
			return nil, err
		}
		result.Chains = append(result.Chains, v.result)
		result.addFault(v.result.Fault)
		if v.last.Seq > 0 {
			result.Last = append(result.Last, v.last)
		}
		if v.headEnd.Seq > 0 {
			result.Heads = append(result.Heads, v.headEnd)
		}
	}
	for _, chain := range present {
		if first, ok := begins[chain]; ok && chain > list.Chains {
			result.addFault(&Fault{Kind: FaultInserted, File: first.displayName(), Detail: "the log has no such chain"})
		}
	}
	for _, a := range given {
		if a.Chain > list.Chains {
			detail := fmt.Sprintf("the log has no chain %d, but a head names a line of it", a.Chain)
			result.addFault(&Fault{Kind: FaultTruncated, File: "chains", Seq: a.Seq, Detail: detail})
		}
	}
	return result, nil
}

func (v *Verification) addFault(f *Fault) {
	if v.Fault == nil {
		v.Fault = f
	}
}

// verifier verifies a chain.
type verifier struct {
	chainReader
	headEnd       Anchor // the last line that the chain's head names
	result        *VerifiedChain
	anchors       map[uint64][]MAC // MACs that lines must have, by sequence number
	firstRecorded *Fault           // the first line that records an alteration
	fileDone      func()           // called after each file
	onLine        func(text []byte)
}

// verifyChain verifies the files of a chain while other processes may write to it. Retention deletes a file after the
// head excludes it, and a line is in a file before the head names it. So verifyChain reads the head twice: the end is
// that from before the files are listed, and the start that from after.
func (v *verifier) verifyChain(ctx context.Context, dir string, key *Key, log string, given Heads) error {
	r := v.result
	headBefore, errBefore := readHead(dir, r.Chain, key, log)
	files, err := listFiles(dir, r.Chain, 0)
	if err != nil {
		return err
	}
	headAfter, errAfter := readHead(dir, r.Chain, key, log)
	if err := errors.Join(errBefore, errAfter); err != nil {
		r.Fault = &Fault{Kind: FaultHead, File: fmt.Sprint(firstOfPair(r.Chain), "/head"), Detail: err.Error()}
		return nil
	}
	end, _, _ := headBefore.endOf(r.Chain, key)
	_, from, pruned := headAfter.endOf(r.Chain, key)
	v.headEnd, v.last = end.Last, from
	v.anchors = map[uint64][]MAC{v.headEnd.Seq: {v.headEnd.MAC}}
	for _, a := range given {
		if a.Chain == r.Chain && a.Seq < from.Seq {
			return fmt.Errorf("audit: the head %s: %w", a, ErrPruned)
		}
		if a.Chain == r.Chain {
			v.anchors[a.Seq] = append(v.anchors[a.Seq], a.MAC)
		}
	}
	extra := "" // a file that the head excludes but that exists
	for ; len(files) > 0 && files[0].number <= pruned; files = files[1:] {
		if _, err := os.Lstat(files[0].path); err == nil && files[0].number != pruned { // a kill may leave the last deleted file
			extra = files[0].displayName()
		}
	}
	r.FirstSeq, r.Files = from.Seq+1, len(files)
	r.Fault, err = v.verifyFiles(ctx, files)
	if r.Fault == nil {
		r.Fault = v.firstRecorded
	}
	if r.Fault == nil && extra != "" {
		r.Fault = &Fault{Kind: FaultInserted, File: extra, Seq: r.FirstSeq, Detail: "retention had deleted this file"}
	}
	r.Lines = v.last.Seq + 1 - r.FirstSeq
	return err
}

func (v *verifier) verifyFiles(ctx context.Context, files []logFile) (fault *Fault, err error) {
	at := Fault{File: fmt.Sprint(v.result.Chain, "/")} // the last line that was read
	var cut *Fault                                     // the cut-off end of the file before, if it has one
	fault = v.compareWithHeads(at)
	for _, f := range files {
		at.File, at.Line = f.displayName(), 0
		e, err := v.readFile(ctx, f, 0, func(text []byte) {
			if at.Line, cut = at.Line+1, nil; fault == nil {
				fault = v.acceptLine(at, text)
			}
		})
		if err != nil || fault != nil {
			return fault, err
		}
		v.fileDone()
		switch {
		case e == nil:
		case e.cutShort:
			v.result.Torn = append(v.result.Torn, fmt.Sprintf("%s:%d", f.displayName(), e.line))
			cut = &Fault{FaultChanged, f.displayName(), e.line, v.last.Seq + 1, "this line is cut short, and the next file does not continue the line before it"}
		case cut != nil:
			return cut, nil
		default:
			at.Line++
			return v.classifyFault(at, e.text), nil
		}
	}
	known, next := uint64(0), v.last.Seq+1
	for seq := range v.anchors {
		known = max(known, seq)
	}
	if fault == nil && known > v.last.Seq {
		fault = &Fault{FaultTruncated, at.File, at.Line + 1, next, fmt.Sprintf("a head names line %d, and the chain ends with line %d", known, v.last.Seq)}
	}
	return fault, nil
}

// acceptLine handles a line that is intact.
func (v *verifier) acceptLine(at Fault, text []byte) *Fault {
	if v.last.Seq == v.result.FirstSeq {
		if l, ok := parseLine(text); ok {
			v.result.FirstTime = l.Time
		}
	}
	if v.firstRecorded == nil && bytes.Contains(text, alteredAction) {
		v.firstRecorded = &Fault{FaultRecorded, at.File, at.Line, v.last.Seq, "the line records that lines or a head were missing or changed when it was written"}
	}
	v.onLine(text)
	return v.compareWithHeads(at)
}

// alteredAction appears only in lines with that action, because quotation marks within strings are escaped.
var alteredAction = []byte(`"action":"` + auditAltered.String() + `"`)

// compareWithHeads compares the last line with the heads that name its sequence number.
func (v *verifier) compareWithHeads(at Fault) *Fault {
	if slices.ContainsFunc(v.anchors[v.last.Seq], func(mac MAC) bool { return mac != v.last.MAC }) {
		return &Fault{FaultRewritten, at.File, at.Line, v.last.Seq, "the line is intact, but a head names another line with this number"}
	}
	return nil
}

// classifyFault returns the fault of a text that is not the expected line.
func (v *verifier) classifyFault(at Fault, text []byte) *Fault {
	at.Kind, at.Seq, at.Detail = FaultChanged, v.last.Seq+1, "this is not a line of the log"
	l, ok := parseChainedLine(bytes.TrimSuffix(text, []byte{'\n'}))
	switch {
	case !ok:
	case l.Chain != v.last.Chain || l.Seq < at.Seq:
		at.Kind, at.Detail = FaultInserted, "its number is "+l.position()
	case l.Seq > at.Seq:
		at.Kind, at.Detail = FaultRemoved, fmt.Sprintf("lines %d to %d are missing", at.Seq, l.Seq-1)
	default:
		at.Detail = "its MAC does not match its bytes and the line before"
	}
	return &at
}
