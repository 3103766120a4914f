package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/coffer-storage/coffer/shared/codes"
)

// ErrHeads reports that a text does not have the format of Heads.
var ErrHeads = &codes.Error{ErrorCode: "invalid_argument", Message: "heads are CHAIN:SEQ:MAC, separated by commas, with a MAC of 64 hexadecimal digits"}

// Anchor identifies a line of a chain. Its MAC depends on all lines before it, so an anchor that is kept elsewhere
// later proves them too. It is not secret.
type Anchor struct {
	Chain uint32
	Seq   uint64 // sequence number in the chain, from 1; 0 is before the first line
	MAC   MAC
}

// MAC is an HMAC-SHA256 (RFC 2104).
type MAC [sha256.Size]byte

// String returns lowercase hexadecimal digits.
func (m MAC) String() string { return hex.EncodeToString(m[:]) }

// String returns CHAIN:SEQ:MAC, with the MAC in hexadecimal digits.
func (a Anchor) String() string { return a.position() + ":" + a.MAC.String() }

func (a Anchor) position() string {
	return strconv.FormatUint(uint64(a.Chain), 10) + ":" + strconv.FormatUint(a.Seq, 10)
}

// MarshalText implements encoding.TextMarshaler.
func (a Anchor) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText parses the format of String. It returns ErrHeads if the text has another format.
func (a *Anchor) UnmarshalText(text []byte) error {
	chain, rest, _ := bytes.Cut(text, []byte{':'})
	seq, mac, _ := bytes.Cut(rest, []byte{':'})
	number, ok := parseNumber(chain)
	if ok && number < maxChains {
		a.Chain = uint32(number)
		if a.Seq, ok = parseNumber(seq); ok && parseMAC(&a.MAC, mac) {
			return nil
		}
	}
	return ErrHeads
}

// Heads are anchors of several chains, at most one for each chain.
type Heads []Anchor

// String returns the anchors, separated by commas.
func (h Heads) String() string {
	texts := make([]string, len(h))
	for i := range h {
		texts[i] = h[i].String()
	}
	return strings.Join(texts, ",")
}

// MarshalText implements encoding.TextMarshaler.
func (h Heads) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// ParseHeads parses the format of Heads.String. It returns ErrHeads if the text has another format.
func ParseHeads(text string) (Heads, error) {
	var h Heads
	for one := range strings.SplitSeq(text, ",") {
		var a Anchor
		if err := a.UnmarshalText([]byte(one)); err != nil {
			return nil, err
		}
		h = append(h, a)
	}
	return h, nil
}

// A line is {"v":1,"chain":C,"seq":N,…,"mac":"M"}. M is the MAC over the MAC of the line before, followed by the bytes
// of this line up to the comma before "mac".
const (
	lineBegin = `{"v":1,"chain":`
	seqBegin  = `,"seq":`
	macBegin  = `,"mac":"`
	macEnd    = `"}`
	macLength = len(macBegin) + 2*sha256.Size + len(macEnd)
	maxLine   = 64 << 10 // most bytes that are read as one line; see TestLinesAreBounded
)

// appendLine appends a JSON object as the line after at, and advances at to that line.
func (c lineMAC) appendLine(dst []byte, at *Anchor, object []byte) []byte {
	start := len(dst)
	at.Seq++
	dst = strconv.AppendUint(append(dst, lineBegin...), uint64(at.Chain), 10)
	dst = strconv.AppendUint(append(dst, seqBegin...), at.Seq, 10)
	dst = append(append(dst, ','), object[1:len(object)-1]...)
	at.MAC = c.macOf(at.MAC, dst[start:])
	dst = hex.AppendEncode(append(dst, macBegin...), at.MAC[:])
	return append(append(dst, macEnd...), '\n')
}

// chainedLine is a line of a file with its position in the chain. Its MAC has not been checked.
type chainedLine struct {
	Anchor
	body []byte // the bytes that the MAC authenticates
}

// parseChainedLine parses a line without its newline. It does not check the MAC.
func parseChainedLine(line []byte) (l chainedLine, ok bool) {
	end := len(line) - macLength
	if end < len(lineBegin) || len(line) > maxLine || !bytes.HasPrefix(line, []byte(lineBegin)) {
		return chainedLine{}, false
	}
	mac, ended := bytes.CutSuffix(line[end:], []byte(macEnd))
	mac, begun := bytes.CutPrefix(mac, []byte(macBegin))
	if !ended || !begun || !parseMAC(&l.MAC, mac) {
		return chainedLine{}, false
	}
	l.body = line[:end]
	chain, rest, ok := bytes.Cut(l.body[len(lineBegin):], []byte(seqBegin))
	digits := bytes.IndexByte(rest, ',')
	number, valid := parseNumber(chain)
	if !ok || digits < 0 || !valid || number >= maxChains {
		return chainedLine{}, false
	}
	l.Chain = uint32(number)
	l.Seq, ok = parseNumber(rest[:digits])
	return l, ok && l.Seq > 0
}

// parseNumber parses a number. It accepts only the form that strconv.FormatUint writes.
func parseNumber(digits []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == string(digits)
}

func parseMAC(m *MAC, digits []byte) bool {
	if len(digits) != hex.EncodedLen(len(m)) || !bytes.Equal(bytes.ToLower(digits), digits) {
		return false
	}
	_, err := hex.Decode(m[:], digits)
	return err == nil
}
