package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrHead means that a head of a log, or its list of chains, is missing or was not made with the log's key.
var ErrHead = &codes.Error{Of: "authentication_failed", Text: "the audit log's list of chains, or a chain's head, is missing or was not made with its key: " +
	"restore it, or move the log away, keep it, and begin a new one by coffer audit begin"}

// logList is the file chains.
type logList struct {
	Log    string `json:"log"`    // random: keys are shared by logs, and what is of one must not pass for another's
	Key    string `json:"key"`    // the id of the key that the log is under
	Chains uint32 `json:"chains"` // that were ever begun: they are numbered from 1
}

// head is the file head of a pair of chains. Only the process that holds them writes it.
type head struct {
	Log    string   `json:"log"`
	Time   string   `json:"time"`
	Ends   [2]place `json:"ends"`   // of the chains, as far as they are known to be on the disk
	From   Anchor   `json:"from"`   // the line of the first chain before the first one that must be there
	Pruned uint64   `json:"pruned"` // the last file that retention deleted, which may be there still
}

// place is the end of a chain.
type place struct {
	Last   Anchor `json:"last"`   // the last line
	File   uint64 `json:"file"`   // the number of the file that it is in
	Offset int64  `json:"offset"` // behind the line in that file
}

// of returns the end of a chain, the line before the first one that must be there, and the last file that was deleted.
func (h *head) of(chain uint32, key *Key) (end place, from Anchor, pruned uint64) {
	if chain == firstOf(chain) {
		return h.Ends[0], h.From, h.Pruned
	}
	return h.Ends[1], key.origin(h.Log, chain), 0
}

// origin stands for the line before a chain's first one. It is another one in each log.
func (k *Key) origin(log string, chain uint32) Anchor {
	return Anchor{Chain: chain, MAC: k.sealMAC([]byte(log))}
}

// seal returns a JSON object that ends with a MAC over the rest of it.
func (k *Key) seal(object any) []byte {
	text, _ := json.Marshal(object) // cannot fail: texts and numbers
	text = text[:len(text)-1]
	mac := k.sealMAC(text)
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
		if want := k.sealMAC(text[:end]); !hmac.Equal(want[:], mac[:]) {
			return false
		}
	}
	return json.Unmarshal(append(text[:end:end], '}'), object) == nil
}

// readSealed returns ErrHead together with the reason.
func readSealed(path string, key *Key, object any) error {
	file, err := openFile(path)
	if err == nil {
		defer file.Close()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(file, maxLine)); err == nil && key.unseal(text, object) {
			return nil
		}
	}
	return fmt.Errorf("audit: %s: %w", path, errors.Join(ErrHead, err))
}

func writeSealed(path string, key *Key, object any) error {
	if err := durable.Replace(path, key.seal(object)); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

func readList(dir string, key *Key) (l logList, err error) {
	err = readSealed(listPath(dir), key, &l)
	if id, e := hex.DecodeString(l.Key); err == nil && (e != nil || len(id) != format.KeyIDSize) {
		err = fmt.Errorf("audit: %s: %w", listPath(dir), ErrHead)
	}
	return l, err
}

// readHead reads the head of a chain of a log. Without a key it proves nothing.
func readHead(dir string, chain uint32, key *Key, log string) (h head, err error) {
	err = readSealed(headPath(dir, chain), key, &h)
	if err == nil && key != nil && (h.Ends[0].Last.Chain != firstOf(chain) || h.Log != log) {
		err = fmt.Errorf("audit: %s: %w", headPath(dir, chain), ErrHead)
	}
	return h, err
}

// Head is the last lines of all chains that are known to be on the disk.
type KnownHeads struct {
	Heads
	Time time.Time // when the latest of them was noted
}

// ReadHead reads the heads of all chains that have lines. It returns ErrHead.
func ReadHeads(dir string, key *Key) (all KnownHeads, err error) {
	list, err := readList(dir, key)
	for chain := uint32(1); chain <= list.Chains && err == nil; chain += 2 {
		var h head
		h, err = readHead(dir, chain, key, list.Log)
		for _, end := range h.Ends {
			if end.Last.Seq > 0 {
				all.Heads = append(all.Heads, end.Last)
			}
		}
		if at, err := time.Parse(timeLayout, h.Time); err == nil && at.After(all.Time) {
			all.Time = at
		}
	}
	return all, err
}

// InUse reports whether anything of a log is in a directory.
func Exists(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	used := func(e fs.DirEntry) bool {
		return e.Name() != "lock" && e.Name() != durable.ReserveName && e.Name()[0] != '.' // or a kill left it
	}
	return slices.ContainsFunc(entries, used), err
}

// KeyID returns the id of the key that a log says it is under; false if there is no log. It returns ErrHead.
func ReadKeyID(dir string) (id format.KeyID, used bool, err error) {
	if used, err = Exists(dir); err != nil || !used {
		return id, used, err
	}
	list, err := readList(dir, nil)
	if err == nil {
		_, err = hex.Decode(id[:], []byte(list.Key))
	}
	return id, true, err
}

// claim acquires the first pair of chains that no process holds, or begins another, and the log if it does not exist.
func claim(dir string, key *Key, log *slog.Logger) (list logList, first uint32, release func(), err error) {
	unlock, err := durable.Lock(lockPath(dir))
	if err != nil {
		return list, 0, nil, fmt.Errorf("audit: %w", err)
	}
	defer unlock()
	list, err = readList(dir, key)
	if errors.Is(err, fs.ErrNotExist) {
		if used, e := Exists(dir); e == nil && !used {
			log.Warn("there is no audit log: one is begun", "path", dir)
			list = logList{Log: rand.Text(), Key: hex.EncodeToString(key.id[:])}
			err = writeSealed(listPath(dir), key, &list)
		}
	}
	for first = 1; err == nil && first+1 < maxChains; first += 2 {
		if first > list.Chains {
			err = beginChains(dir, key, &list)
		}
		if err != nil {
			break
		}
		release, ok, err := durable.TryLock(lockPath(chainDir(dir, first)))
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.Join(ErrHead, err) // its directory is gone
		}
		if ok || err != nil {
			return list, first, release, err
		}
	}
	if err == nil {
		err = errors.New("audit: too many processes write to the log")
	}
	return list, 0, nil, err
}

// beginChains adds two chains to the list, behind their head: they have no lines before the list names them.
func beginChains(dir string, key *Key, list *logList) error {
	for range 2 {
		list.Chains++
		if err := os.MkdirAll(chainDir(dir, list.Chains), 0o700); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	// A process that was killed before it wrote the list has left a head.
	if _, err := os.Lstat(headPath(dir, list.Chains)); errors.Is(err, fs.ErrNotExist) {
		first, second := key.origin(list.Log, list.Chains-1), key.origin(list.Log, list.Chains)
		h := head{Log: list.Log, Ends: [2]place{{Last: first, File: 1}, {Last: second, File: 1}}, From: first}
		if err := writeSealed(headPath(dir, list.Chains), key, &h); err != nil {
			return err
		}
	}
	return writeSealed(listPath(dir), key, list)
}
