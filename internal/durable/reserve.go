package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const (
	// ReserveName is the name of a reserve's file in its directory.
	ReserveName = "reserve"
	// ReserveSize is the size of a whole reserve in bytes.
	ReserveSize = 16 << 20

	reservePiece = 16 << 10 // released for a write that finds the disk full
	nearlyNone   = 1 << 20
)

// Reserve is disk space that a file in a directory holds for writes on a disk that others have filled. It is released in pieces, because
// others can take what is released. It is safe for concurrent use.
type Reserve struct {
	mu    sync.Mutex
	dir   string
	spare int64
}

// NewReserve returns the reserve of a directory. Refill leaves spare bytes of free space to others.
func NewReserve(dir string, spare int64) *Reserve { return &Reserve{dir: dir, spare: spare} }

func (r *Reserve) path() string { return filepath.Join(r.dir, ReserveName) }

// left returns the size of the file, 0 if there is none. It reports false if something else has its name.
func (r *Reserve) size() (int64, bool) {
	info, err := os.Lstat(r.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, true
	case err != nil || !info.Mode().IsRegular():
		return 0, false
	}
	return info.Size(), true
}

// Left returns how many bytes are in reserve.
func (r *Reserve) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, _ := r.size()
	return left
}

// Refill makes the reserve whole if there is plenty of space.
func (r *Reserve) Refill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, ok := r.size()
	if !ok || left >= ReserveSize {
		return
	}
	if free, err := FreeSpace(r.dir); err != nil || free < r.spare+ReserveSize-left {
		return
	}
	f, err := os.OpenFile(r.path(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if err := allocate(f, left, ReserveSize-left); err != nil {
		_ = f.Truncate(left)
	}
}

// Release returns n bytes to the file system, or all that is left, and reports whether there were any.
func (r *Reserve) Release(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, _ := r.size()
	return left > 0 && os.Truncate(r.path(), max(0, left-n)) == nil
}

// Use calls do, and calls it again with more space while the disk is full and there is a reserve.
func (r *Reserve) RetryIfFull(do func() error) error {
	err := do()
	for IsFull(err) && r.Release(reservePiece) {
		err = do()
	}
	return err
}

// Exhausted reports whether a failed write to a directory's file system can be blamed on its size.
func NearlyFull(dir string) bool {
	free, err := FreeSpace(dir)
	return err == nil && free < nearlyNone
}

// writeZeros allocates space in a file system that cannot do so without content.
func writeZeros(f *os.File, from, n int64) error {
	_, err := f.WriteAt(make([]byte, n), from)
	return err
}
