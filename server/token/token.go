// Package token keeps the API token that opens the HTTP service.
//
// It guarantees that the token itself is nowhere at rest: the file holds its SHA-256 only, which is enough, since a token is 256 random
// bits and cannot be guessed from its hash. The file is replaced in one step and read again as soon as it changed, so a token that was
// replaced ends at once, in a running server too.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/shared/codes"
)

// Prefix begins every token, so that scanners for leaked secrets know one.
const Prefix = "coffer_"

const (
	size    = 32 // random bytes of a token
	maxFile = 4096
)

var (
	// ErrUnauthorized says that a token is not the one that the file knows, or that there is none.
	ErrUnauthorized = &codes.Error{Of: "unauthorized", Text: "the bearer token is missing, wrong, revoked or expired"}
	// ErrDamaged says that the token file cannot be understood; a new token replaces it.
	ErrDamaged = errors.New("the token file is damaged: `coffer token create` makes a new token")
)

// File is the file of one token's hash. It is safe for concurrent use, by several processes too.
type File struct {
	path string

	mu   sync.Mutex
	info fs.FileInfo // of the file that hash was read from; nil before the first
	hash [sha256.Size]byte
}

// record is the file's content.
type record struct {
	SHA256    string    `json:"sha256"`
	CreatedAt time.Time `json:"createdAt"`
}

// Open names the file; it need not be there.
func Open(path string) *File { return &File{path: path} }

// Create makes a new token in place of an earlier one and returns it, the only time that it is to be had.
func (f *File) Create() (string, error) {
	token, content := generate()
	return token, replace(f.path, content)
}

// CreateFirst makes a token if the file has none. It returns the empty string where there is one already, and ErrDamaged where the
// file cannot be understood.
func (f *File) CreateFirst() (string, error) {
	token, content := generate()
	err := create(f.path, content)
	if errors.Is(err, fs.ErrExist) {
		_, err = f.current()
		return "", err
	}
	if err != nil {
		return "", err
	}
	return token, nil
}

func generate() (token string, content []byte) {
	var b [size]byte
	_, _ = rand.Read(b[:]) // never fails: package crypto/rand
	token = Prefix + base64.RawURLEncoding.EncodeToString(b[:])
	hash := sha256.Sum256([]byte(token))
	content, _ = json.Marshal(record{hex.EncodeToString(hash[:]), time.Now().UTC().Truncate(time.Second)}) // cannot fail: text and a time
	return token, append(content, '\n')
}

// Verify returns nil for the token in force and ErrUnauthorized for any other text, in a time that does not depend on the text's
// content; without a file no token is in force. Any other error means that the file could not be read.
func (f *File) Verify(token string) error {
	got := sha256.Sum256([]byte(token))
	want, err := f.current()
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUnauthorized
	}
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return ErrUnauthorized
	}
	return nil
}

// current returns the hash in force. Asking the file system each time costs about a microsecond, and is what ends a replaced token.
func (f *File) current() ([sha256.Size]byte, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("token: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.info != nil && os.SameFile(f.info, info) && f.info.ModTime().Equal(info.ModTime()) && f.info.Size() == info.Size() {
		return f.hash, nil
	}
	hash, err := read(f.path)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	f.info, f.hash = info, hash
	return hash, nil
}

func read(path string) (hash [sha256.Size]byte, err error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		return hash, ErrDamaged
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return hash, fmt.Errorf("token: %w", err)
	}
	var r record
	if json.Unmarshal(content, &r) != nil || len(r.SHA256) != hex.EncodedLen(len(hash)) {
		return hash, ErrDamaged
	}
	if _, err := hex.Decode(hash[:], []byte(r.SHA256)); err != nil {
		return hash, ErrDamaged
	}
	return hash, nil
}
