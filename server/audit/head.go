package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/shared/codes"
)

// ErrHead says that a log's head is missing, or was not made with its key.
var ErrHead = &codes.Error{Of: "authentication_failed", Text: "the audit log's head is missing or was not made with its key"}

// Head is the last line of a log that is known to be on the disk, as a file beside the log tells it.
type Head struct {
	Anchor
	File string    // that the line is in
	Time time.Time // of when it was noted
	From Anchor    // the last line of what was deleted by retention; zero where the log is whole

	offset int64 // where the line ends
}

const headVersion = 1

// headFile is what is on the disk, followed by its own MAC.
type headFile struct {
	Version int         `json:"v"`
	Seq     uint64      `json:"seq"`
	Line    string      `json:"line"` // MAC
	File    string      `json:"file"`
	Offset  int64       `json:"offset"`
	Time    string      `json:"time"`
	From    *headOfFile `json:"from,omitempty"`
}

type headOfFile struct {
	Seq  uint64 `json:"seq"`
	Line string `json:"line"`
}

// marshal writes the head as one line whose MAC is over what stands before it.
func (h *Head) marshal(k *Key) []byte {
	f := headFile{headVersion, h.Seq, h.MAC.String(), h.File, h.offset, h.Time.UTC().Format(timeLayout), nil}
	if h.From != (Anchor{}) {
		f.From = &headOfFile{h.From.Seq, h.From.MAC.String()}
	}
	text, _ := json.Marshal(&f) // cannot fail: texts and numbers
	text = text[:len(text)-1]
	mac := k.headMAC(text)
	text = hex.AppendEncode(append(text, macBegin...), mac[:])
	return append(text, macEnd+"\n"...)
}

func (k *Key) headMAC(body []byte) (m MAC) {
	mac := hmac.New(sha256.New, k.head[:])
	mac.Write(body)
	mac.Sum(m[:0])
	return m
}

// unmarshal reads a head that was made with the key.
func (h *Head) unmarshal(k *Key, text []byte) error {
	text, ended := bytes.CutSuffix(text, []byte("\n"))
	end := len(text) - macLength
	if !ended || end < 0 || !bytes.HasPrefix(text[end:], []byte(macBegin)) || !bytes.HasSuffix(text, []byte(macEnd)) {
		return ErrHead
	}
	var mac MAC
	if want := k.headMAC(text[:end]); !parseMAC(&mac, text[end+len(macBegin):len(text)-len(macEnd)]) || !hmac.Equal(mac[:], want[:]) {
		return ErrHead
	}
	var f headFile
	if json.Unmarshal(append(text[:end:end], '}'), &f) != nil || f.Version != headVersion || f.Offset < 0 {
		return ErrHead
	}
	at, err := time.Parse(timeLayout, f.Time)
	if err != nil || !parseMAC(&h.MAC, []byte(f.Line)) || f.From != nil && !parseMAC(&h.From.MAC, []byte(f.From.Line)) {
		return ErrHead
	}
	if f.From != nil {
		h.From.Seq = f.From.Seq
	}
	h.Seq, h.File, h.offset, h.Time = f.Seq, f.File, f.Offset, at
	return nil
}

// deletedTo is the number of the last line that was deleted by retention, as the head tells it, be that true or not.
func deletedTo(path string) uint64 {
	var f headFile
	text, err := readRegular(headPath(path), maxLine)
	if err != nil || json.Unmarshal(text, &f) != nil || f.From == nil {
		return 0
	}
	return f.From.Seq
}

// ReadHead reads the head of the log at a path. It returns ErrHead.
func ReadHead(path string, key *Key) (Head, error) {
	var h Head
	text, err := readRegular(headPath(path), maxLine)
	if err == nil {
		err = h.unmarshal(key, text)
	}
	if err != nil {
		return Head{}, fmt.Errorf("audit: %s: %w", headPath(path), join(ErrHead, err))
	}
	return h, nil
}

func writeHead(path string, key *Key, h *Head) error {
	if err := durable.Replace(headPath(path), h.marshal(key)); err != nil {
		return fmt.Errorf("audit: write the head: %w", err)
	}
	return nil
}
