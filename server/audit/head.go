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

// ErrHead reports that the head of a chain, or the list of chains, is missing or was not made with the log's key.
var ErrHead = &codes.Error{ErrorCode: "authentication_failed", Message: "the audit log's list of chains, or the head of a chain, is missing or was not made with the log's key: " +
	"restore it, or move the log away, keep it, and run coffer audit begin to start another one"}

// chainList is the content of the file "chains".
type chainList struct {
	Log    string `json:"log"`    // random id of this log: logs can share a key, and files of one must not be accepted in another
	Key    string `json:"key"`    // id of the log's key
	Chains uint32 `json:"chains"` // number of chains that were ever created; chains are numbered from 1
}

// head is the content of the file "head" of a pair of chains. Only the process that has locked the chains writes it.
type head struct {
	Log        string      `json:"log"`
	Time       string      `json:"time"`
	Ends       [2]chainEnd `json:"ends"`   // ends of the two chains, as far as they are known to be on the disk
	Start      Anchor      `json:"from"`   // the line of the first chain that precedes the first line that must exist
	LastPruned uint64      `json:"pruned"` // number of the last file that retention deleted; a kill may have left that file
}

// chainEnd is the last line of a chain and its position.
type chainEnd struct {
	Last   Anchor `json:"last"`   // the last line
	File   uint64 `json:"file"`   // number of its file
	Offset int64  `json:"offset"` // offset behind the line in that file
}

// endOf returns the end of a chain, the line that precedes the first line that must exist, and the number of the last
// file that retention deleted.
func (h *head) endOf(chain uint32, key *Key) (end chainEnd, from Anchor, pruned uint64) {
	if chain == firstOfPair(chain) {
		return h.Ends[0], h.Start, h.LastPruned
	}
	return h.Ends[1], key.origin(h.Log, chain), 0
}

// origin returns the anchor before a chain's first line. Its MAC depends on the log's id, so lines of another log do
// not continue it.
func (k *Key) origin(log string, chain uint32) Anchor {
	return Anchor{Chain: chain, MAC: k.headMAC([]byte(log))}
}

// encodeAuthenticated encodes an object as JSON and adds a MAC of the encoding as its last member.
func (k *Key) encodeAuthenticated(object any) []byte {
	text, _ := json.Marshal(object) // cannot fail: the object contains only strings and numbers
	text = text[:len(text)-1]
	mac := k.headMAC(text)
	return append(hex.AppendEncode(append(text, macBegin...), mac[:]), macEnd+"\n"...)
}

// decodeAuthenticated decodes the output of encodeAuthenticated. It reports whether the format and the MAC are right.
// If k is nil, it does not check the MAC.
func (k *Key) decodeAuthenticated(text []byte, object any) bool {
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

// readAuthenticated reads a file that writeAuthenticated wrote. Its errors wrap ErrHead and the cause.
func readAuthenticated(path string, key *Key, object any) error {
	file, err := openFile(path)
	if err == nil {
		defer file.Close()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(file, maxLine)); err == nil && key.decodeAuthenticated(text, object) {
			return nil
		}
	}
	return fmt.Errorf("audit: %s: %w", path, errors.Join(ErrHead, err))
}

func writeAuthenticated(path string, key *Key, object any) error {
	if err := durable.Replace(path, key.encodeAuthenticated(object)); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

func readChainList(dir string, key *Key) (l chainList, err error) {
	err = readAuthenticated(chainListPath(dir), key, &l)
	if id, e := hex.DecodeString(l.Key); err == nil && (e != nil || len(id) != format.KeyIDSize) {
		err = fmt.Errorf("audit: %s: %w", chainListPath(dir), ErrHead)
	}
	return l, err
}

// readHead reads the head of a pair of chains. If key is nil, it does not check the MAC or that the head belongs to
// this log and chain.
func readHead(dir string, chain uint32, key *Key, log string) (h head, err error) {
	err = readAuthenticated(headPath(dir, chain), key, &h)
	if err == nil && key != nil && (h.Ends[0].Last.Chain != firstOfPair(chain) || h.Log != log) {
		err = fmt.Errorf("audit: %s: %w", headPath(dir, chain), ErrHead)
	}
	return h, err
}

// KnownHeads are the last lines of all chains that are known to be on the disk.
type KnownHeads struct {
	Heads
	Time time.Time // when the latest head was written
}

// ReadHeads reads the heads of all chains that have lines. It returns ErrHead if a head or the list of chains is
// missing or was not made with the key. Keep the result outside the server, so that Verify can later compare the log
// with it.
func ReadHeads(dir string, key *Key) (all KnownHeads, err error) {
	list, err := readChainList(dir, key)
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

// Exists reports whether a directory contains any part of a log.
func Exists(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	used := func(e fs.DirEntry) bool {
		return e.Name() != "lock" && e.Name() != durable.ReserveName && e.Name()[0] != '.' // temporary files, which a kill may have left
	}
	return slices.ContainsFunc(entries, used), err
}

// ReadKeyID returns the id of the key that a log names, and false if the log does not exist. It returns ErrHead if the
// list of chains is missing or malformed. The id is not authenticated.
func ReadKeyID(dir string) (id format.KeyID, used bool, err error) {
	if used, err = Exists(dir); err != nil || !used {
		return id, used, err
	}
	list, err := readChainList(dir, nil)
	if err == nil {
		_, err = hex.Decode(id[:], []byte(list.Key))
	}
	return id, true, err
}

// acquireChains locks the first pair of chains that no process has locked. It adds a pair if all are locked, and
// creates the log if it does not exist.
func acquireChains(dir string, key *Key, log *slog.Logger) (list chainList, first uint32, release func(), err error) {
	unlock, err := durable.Lock(lockPath(dir))
	if err != nil {
		return list, 0, nil, fmt.Errorf("audit: %w", err)
	}
	defer unlock()
	list, err = readChainList(dir, key)
	if errors.Is(err, fs.ErrNotExist) {
		if used, e := Exists(dir); e == nil && !used {
			log.Warn("there is no audit log: starting a new one", "path", dir)
			list = chainList{Log: rand.Text(), Key: hex.EncodeToString(key.id[:])}
			err = writeAuthenticated(chainListPath(dir), key, &list)
		}
	}
	for first = 1; err == nil && first+1 < maxChains; first += 2 {
		if first > list.Chains {
			err = addChainPair(dir, key, &list)
		}
		if err != nil {
			break
		}
		release, ok, err := durable.TryLock(lockPath(chainDir(dir, first)))
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.Join(ErrHead, err) // the directory of the chain is missing
		}
		if ok || err != nil {
			return list, first, release, err
		}
	}
	if err == nil {
		err = errors.New("audit: too many processes write to the log at once")
	}
	return list, 0, nil, err
}

// addChainPair adds two chains. It writes their directories, then their head, and the list last: once the list names a
// chain, its head must exist, and a chain has no lines before the list names it.
func addChainPair(dir string, key *Key, list *chainList) error {
	for range 2 {
		list.Chains++
		if err := os.MkdirAll(chainDir(dir, list.Chains), 0o700); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	// The head exists if a process was killed before it wrote the list.
	if _, err := os.Lstat(headPath(dir, list.Chains)); errors.Is(err, fs.ErrNotExist) {
		first, second := key.origin(list.Log, list.Chains-1), key.origin(list.Log, list.Chains)
		h := head{Log: list.Log, Ends: [2]chainEnd{{Last: first, File: 1}, {Last: second, File: 1}}, Start: first}
		if err := writeAuthenticated(headPath(dir, list.Chains), key, &h); err != nil {
			return err
		}
	}
	return writeAuthenticated(chainListPath(dir), key, list)
}
