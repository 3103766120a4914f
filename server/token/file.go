package token

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/identity"
)

const (
	maxTokens = 1000
	maxFile   = 4 << 20
	// settled is the age from which a file's time tells it from its successor; clocks of file systems are coarse.
	settled = 2 * time.Second
)

// File is the file of the tokens' hashes. It is safe for concurrent use, by several processes too.
type File struct {
	path    string
	now     func() time.Time
	replace func(path string, content []byte) error

	mu      sync.Mutex
	info    fs.FileInfo // of the file that entries were read from; nil before the first
	readAt  time.Time
	entries []entry // replaced, never changed
	noting  time.Time
	noted   map[string]bool // ids of tokens whose use was noted in the hour noting
}

var _ identity.Authenticator = (*File)(nil)

// Open names the file; it need not be there.
func Open(path string) *File { return &File{path: path, now: time.Now, replace: durable.Replace} }

// record is a token in the file.
type record struct {
	Token
	Scopes []string `json:"scopes"`
	SHA256 string   `json:"sha256"`
}

// document is the file's content.
type document struct {
	Tokens []record `json:"tokens"`
}

// current returns the tokens in force. Asking the file system each time costs about a microsecond, and is
// what ends a revoked token.
func (f *File) current() ([]entry, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.info != nil && durable.Same(f.info, info) && f.readAt.Sub(info.ModTime()) > settled {
		return f.entries, nil
	}
	readAt := time.Now()
	entries, info, err := read(f.path)
	if err != nil {
		return nil, err
	}
	f.info, f.readAt, f.entries = info, readAt, entries
	return entries, nil
}

func read(path string) ([]entry, fs.FileInfo, error) {
	file, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, nil, fmt.Errorf("token: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("token: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("token: %w", err)
	}
	entries, err := parse(content)
	return entries, info, err
}

// parse returns ErrDamaged unless every token is understood: half of a file must not be written back.
func parse(content []byte) ([]entry, error) {
	var d document
	if len(content) > maxFile || json.Unmarshal(content, &d) != nil || d.Tokens == nil || len(d.Tokens) > maxTokens {
		return nil, ErrDamaged
	}
	entries := make([]entry, len(d.Tokens))
	for i, r := range d.Tokens {
		scopes, err := identity.ParseScopes(r.Scopes)
		if err != nil || r.ID == "" || !identity.ValidGrant(r.Tenant, scopes) || len(r.SHA256) != hex.EncodedLen(sha256.Size) {
			return nil, ErrDamaged
		}
		entries[i].Token, entries[i].Scopes = r.Token, scopes
		if _, err := hex.Decode(entries[i].hash[:], []byte(r.SHA256)); err != nil {
			return nil, ErrDamaged
		}
	}
	return entries, nil
}

func encode(entries []entry) []byte {
	d := document{Tokens: make([]record, len(entries))}
	for i, e := range entries {
		d.Tokens[i] = record{e.Token, e.Scopes.Names(), hex.EncodeToString(e.hash[:])}
	}
	content, _ := json.MarshalIndent(d, "", "  ") // cannot fail: texts and times
	return append(content, '\n')
}

func (f *File) lock() string { return f.path + ".lock" }

// used notes the hour of a token's use, in the file too. It is done once an hour whether or not it succeeds, and not while another
// change holds the lock, which can wait for the audit log: it serves a list for the operator, which must not stop a request.
func (f *File) used(e *entry, now time.Time) {
	at := now.UTC().Truncate(time.Hour)
	if !e.LastUsedAt.Before(at) || !f.note(e.ID, at) {
		return
	}
	unlock, locked, err := durable.TryLock(f.lock())
	if err != nil {
		return
	}
	if !locked {
		f.mu.Lock()
		delete(f.noted, e.ID) // the next use notes it
		f.mu.Unlock()
		return
	}
	defer unlock()
	entries, _, err := read(f.path)
	if i := indexOf(entries, e.ID); err == nil && i >= 0 { // or it was revoked in the meantime
		entries[i].LastUsedAt = at
		_ = f.replace(f.path, encode(entries))
	}
}

// note reports whether the use of a token in that hour is news.
func (f *File) note(id string, at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.noting.Equal(at) {
		f.noting, f.noted = at, map[string]bool{}
	}
	news := !f.noted[id]
	f.noted[id] = true
	return news
}
