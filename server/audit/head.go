package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/shared/codes"
)

// ErrHead means that a head of a log, or its list of chains, is missing or was not made with the log's key.
var ErrHead = &codes.Error{Of: "authentication_failed", Text: "the audit log's list of chains, or a chain's head, is missing or was not made with its key: " +
	"restore it, or move the log away, keep it, and begin a new one by coffer audit begin"}

// chainList is the file chains: it names all chains that were ever begun.
type chainList struct {
	Chains []uint32 `json:"chains"`
}

// head is the file head of a chain. Only the process that holds the chain writes it.
type head struct {
	Time   string `json:"time"`
	Head   Anchor `json:"head"`             // the last line that is known to be on the disk
	File   uint64 `json:"file"`             // the file that it is in, by the number of the file's first line
	Offset int64  `json:"offset"`           // of the line in that file
	From   Anchor `json:"from,omitzero"`    // the last line that retention deleted
	Pruned uint64 `json:"pruned,omitempty"` // the file that it was in, which may be there still
}

// seal returns a JSON object that ends with a MAC over the rest of it.
func (k *Key) seal(object any) []byte {
	text, _ := json.Marshal(object) // cannot fail: texts and numbers
	text = text[:len(text)-1]
	mac := k.headMAC(text)
	return append(hex.AppendEncode(append(text, macBegin...), mac[:]), macEnd+"\n"...)
}

// unseal reads what seal returned, and reports whether it can. Without a key it proves nothing.
func (k *Key) unseal(text []byte, object any) bool {
	text, ended := bytes.CutSuffix(text, []byte(macEnd+"\n"))
	end := bytes.LastIndex(text, []byte(macBegin))
	var mac MAC
	if !ended || end < 0 || !parseMAC(&mac, text[end+len(macBegin):]) {
		return false
	}
	if k != nil {
		if want := k.headMAC(text[:end]); !hmac.Equal(want[:], mac[:]) {
			return false
		}
	}
	return json.Unmarshal(append(text[:end:end], '}'), object) == nil
}

func (k *Key) headMAC(body []byte) (m MAC) {
	mac := hmac.New(sha256.New, k.head[:])
	mac.Write(body)
	mac.Sum(m[:0])
	return m
}

// readSealed returns ErrHead together with the reason.
func readSealed(path string, key *Key, object any) error {
	text, err := readRegular(path, maxLine)
	if err == nil && key.unseal(text, object) {
		return nil
	}
	return fmt.Errorf("audit: %s: %w", path, errors.Join(ErrHead, err))
}

func writeSealed(path string, key *Key, object any) error {
	if err := durable.Replace(path, key.seal(object)); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

func readHead(dir string, chain uint32, key *Key) (h head, err error) {
	err = readSealed(headPath(dir, chain), key, &h)
	if err == nil && h.Head.Chain != chain {
		err = fmt.Errorf("audit: %s: %w", headPath(dir, chain), ErrHead)
	}
	return h, err
}

// from returns the line before the first one that must be there.
func (h *head) from() Anchor { return Anchor{h.Head.Chain, h.From.Seq, h.From.MAC} }

// Head is the last lines of all chains that are known to be on the disk.
type Head struct {
	Heads
	Time time.Time // when the latest of them was noted
}

// ReadHead reads the heads of all chains that have lines. It returns ErrHead.
func ReadHead(dir string, key *Key) (all Head, err error) {
	var list chainList
	if err := readSealed(listPath(dir), key, &list); err != nil {
		return Head{}, err
	}
	for _, chain := range list.Chains {
		h, err := readHead(dir, chain, key)
		if err != nil {
			return Head{}, err
		}
		if at, err := time.Parse(timeLayout, h.Time); err == nil && at.After(all.Time) {
			all.Time = at
		}
		if h.Head.Seq > 0 {
			all.Heads = append(all.Heads, h.Head)
		}
	}
	return all, nil
}

// claim acquires the first chain that no process holds, or begins another, and the log if it does not exist.
func claim(dir string, key *Key, log *slog.Logger) (h head, release func(), err error) {
	unlock, err := durable.Lock(lockPath(dir))
	if err != nil {
		return head{}, nil, fmt.Errorf("audit: %w", err)
	}
	defer unlock()
	var list chainList
	err = readSealed(listPath(dir), key, &list)
	if errors.Is(err, fs.ErrNotExist) {
		if used, e := InUse(dir); e == nil && !used {
			log.Warn("there is no audit log: one is begun", "path", dir)
			err = writeSealed(listPath(dir), key, &list)
		}
	}
	for chain := uint32(1); err == nil && chain < maxChains; chain++ {
		if err := register(dir, key, &list, chain); err != nil {
			return head{}, nil, err
		}
		release, ok, err := durable.TryLock(lockPath(chainDir(dir, chain)))
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.Join(ErrHead, err) // its directory is gone
		}
		if err != nil {
			return head{}, nil, fmt.Errorf("audit: %w", err)
		}
		if ok {
			if err = durable.Sweep(chainDir(dir, chain)); err == nil {
				h, err = readHead(dir, chain, key)
			}
			if err != nil {
				release()
			}
			return h, release, err
		}
	}
	return head{}, nil, errors.Join(err, errors.New("audit: no chain of the log can be acquired"))
}

// register adds a chain to the list, behind its head. The log's lock must be held.
func register(dir string, key *Key, list *chainList, chain uint32) error {
	if slices.Contains(list.Chains, chain) {
		return nil
	}
	if err := os.MkdirAll(chainDir(dir, chain), 0o700); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if _, err := os.Lstat(headPath(dir, chain)); errors.Is(err, fs.ErrNotExist) {
		h := head{Head: Anchor{Chain: chain}, File: 1}
		if err := writeSealed(headPath(dir, chain), key, &h); err != nil {
			return err
		}
	}
	list.Chains = append(list.Chains, chain)
	slices.Sort(list.Chains)
	return writeSealed(listPath(dir), key, list)
}
