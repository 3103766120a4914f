package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"

	"github.com/coffer-storage/coffer/shared/codes"
)

// ErrAnchor says that a text is none of an Anchor.
var ErrAnchor = &codes.Error{Of: "invalid_argument", Text: "an anchor is the number of a line, a colon and its MAC of 64 hexadecimal digits"}

// Anchor names a line and, by its MAC, all lines before it. It is not secret. The zero Anchor is before the first line.
type Anchor struct {
	Seq uint64 // the line's number; the first is 1
	MAC MAC
}

// MAC is HMAC-SHA256 (RFC 2104).
type MAC [sha256.Size]byte

// String returns lowercase hexadecimal digits.
func (m MAC) String() string { return hex.EncodeToString(m[:]) }

// String is as ParseAnchor takes it.
func (a Anchor) String() string { return strconv.FormatUint(a.Seq, 10) + ":" + a.MAC.String() }

// ParseAnchor reads SEQ:MAC. It returns ErrAnchor.
func ParseAnchor(text string) (a Anchor, err error) {
	number, mac, _ := strings.Cut(text, ":")
	seq, ok := parseSeq([]byte(number))
	if !ok || !parseMAC(&a.MAC, []byte(mac)) {
		return Anchor{}, ErrAnchor
	}
	a.Seq = seq
	return a, nil
}

// A line is {"v":1,"seq":N,…,"mac":"M"}: M is the MAC over the MAC of the line before and this line's bytes
// up to the comma before "mac".
const (
	lineBegin = `{"v":1,"seq":`
	macBegin  = `,"mac":"`
	macEnd    = `"}`
	macLength = len(macBegin) + 2*sha256.Size + len(macEnd)
	// lineOverhead is the most that a line is longer than its object.
	lineOverhead = len(lineBegin) + digits + macLength
	// maxLine bounds what is taken for a line, in bytes. The longest that is written is a quarter of it: see
	// TestLinesAreBounded.
	maxLine = 64 << 10
)

// chain computes MACs. It is for one goroutine.
type chain struct {
	mac    hash.Hash
	buffer []byte // of a MAC: what an interface's method is given would otherwise be allocated every time
}

func (k *Key) newChain() chain {
	return chain{hmac.New(sha256.New, k.chain[:]), make([]byte, 0, sha256.Size)}
}

// link is the MAC of a line whose signed part is body.
func (c chain) link(before MAC, body []byte) MAC {
	c.mac.Reset()
	c.mac.Write(append(c.buffer, before[:]...))
	c.mac.Write(body)
	return MAC(c.mac.Sum(c.buffer))
}

// appendLine appends a JSON object as the line behind at, and moves at to it.
func (c chain) appendLine(dst []byte, at *Anchor, object []byte) []byte {
	start := len(dst)
	dst = append(dst, lineBegin...)
	dst = strconv.AppendUint(dst, at.Seq+1, 10)
	dst = append(dst, ',')
	dst = append(dst, object[1:len(object)-1]...)
	*at = Anchor{at.Seq + 1, c.link(at.MAC, dst[start:])}
	dst = append(dst, macBegin...)
	dst = hex.AppendEncode(dst, at.MAC[:])
	return append(append(dst, macEnd...), '\n')
}

// link is a line as it is written, be it true or not.
type link struct {
	Anchor
	body []byte // what the MAC is over
}

// parseLink takes a line without its end apart.
func parseLink(line []byte) (l link, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(lineBegin))
	if !ok || len(rest) < macLength || len(line) > maxLine {
		return link{}, false
	}
	end := len(line) - macLength
	number, _, ok := bytes.Cut(line[len(lineBegin):end], []byte{','})
	if !ok || !bytes.HasPrefix(line[end:], []byte(macBegin)) || !bytes.HasSuffix(line, []byte(macEnd)) {
		return link{}, false
	}
	if l.Seq, ok = parseSeq(number); !ok || l.Seq == 0 {
		return link{}, false
	}
	l.body = line[:end]
	return l, parseMAC(&l.MAC, line[end+len(macBegin):len(line)-len(macEnd)])
}

// parseSeq reads a number in the one form in which it is written.
func parseSeq(digits []byte) (uint64, bool) {
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

// follows reports whether a line is the one behind at.
func (c chain) follows(at Anchor, l link) bool {
	want := c.link(at.MAC, l.body)
	return l.Seq == at.Seq+1 && hmac.Equal(want[:], l.MAC[:])
}
