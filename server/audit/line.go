package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/coffer-storage/coffer/shared/codes"
)

// ErrHeads means that a text does not name lines of chains.
var ErrHeads = &codes.Error{Of: "invalid_argument", Text: "heads are CHAIN:SEQ:MAC, separated by commas, with a MAC of 64 hexadecimal digits"}

// Anchor names a line and, by its MAC, all lines before it in its chain. It is not secret.
type Anchor struct {
	Chain uint32
	Seq   uint64 // the line's number in its chain, from 1; 0 is before the first line
	MAC   MAC
}

// MAC is HMAC-SHA256 (RFC 2104).
type MAC [sha256.Size]byte

// String returns lowercase hexadecimal digits.
func (m MAC) String() string { return hex.EncodeToString(m[:]) }

// String returns CHAIN:SEQ:MAC.
func (a Anchor) String() string { return a.position() + ":" + a.MAC.String() }

func (a Anchor) position() string {
	return strconv.FormatUint(uint64(a.Chain), 10) + ":" + strconv.FormatUint(a.Seq, 10)
}

// MarshalText implements encoding.TextMarshaler.
func (a Anchor) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what String returns. It returns ErrHeads.
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

// Heads names a line of each of several chains.
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

// ParseHeads reads what String returns. It returns ErrHeads.
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

// A line is {"v":1,"chain":C,"seq":N,…,"mac":"M"}. M is the MAC over the MAC of the line before and this line's
// bytes up to the comma before "mac".
const (
	lineBegin = `{"v":1,"chain":`
	seqBegin  = `,"seq":`
	macBegin  = `,"mac":"`
	macEnd    = `"}`
	macLength = len(macBegin) + 2*sha256.Size + len(macEnd)
	maxLine   = 64 << 10 // bytes that are read as one line; see TestLinesAreBounded
)

// appendLine appends a JSON object as the line behind at, and moves at to it.
func (c linker) appendLine(dst []byte, at *Anchor, object []byte) []byte {
	start := len(dst)
	at.Seq++
	dst = strconv.AppendUint(append(dst, lineBegin...), uint64(at.Chain), 10)
	dst = strconv.AppendUint(append(dst, seqBegin...), at.Seq, 10)
	dst = append(append(dst, ','), object[1:len(object)-1]...)
	at.MAC = c.link(at.MAC, dst[start:])
	dst = hex.AppendEncode(append(dst, macBegin...), at.MAC[:])
	return append(append(dst, macEnd...), '\n')
}

// link is a line as it stands in a file. It proves nothing.
type link struct {
	Anchor
	body []byte // signed by the MAC
}

// parseLink takes a line without its end apart.
func parseLink(line []byte) (l link, ok bool) {
	end := len(line) - macLength
	if end < len(lineBegin) || len(line) > maxLine || !bytes.HasPrefix(line, []byte(lineBegin)) {
		return link{}, false
	}
	mac, ended := bytes.CutSuffix(line[end:], []byte(macEnd))
	mac, begun := bytes.CutPrefix(mac, []byte(macBegin))
	if !ended || !begun || !parseMAC(&l.MAC, mac) {
		return link{}, false
	}
	l.body = line[:end]
	chain, rest, ok := bytes.Cut(l.body[len(lineBegin):], []byte(seqBegin))
	digits := bytes.IndexByte(rest, ',')
	number, valid := parseNumber(chain)
	if !ok || digits < 0 || !valid || number >= maxChains {
		return link{}, false
	}
	l.Chain = uint32(number)
	l.Seq, ok = parseNumber(rest[:digits])
	return l, ok && l.Seq > 0
}

// parseNumber reads a number in the one form in which it is written.
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
