package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const (
	// ReserveName is the name of the reserve file in its directory.
	ReserveName = "reserve"
	// ReserveSize is the size of a full reserve in bytes.
	ReserveSize = 16 << 20

	reservePiece    = 16 << 10 // bytes that are released at a time for a write that found the disk full
	nearlyFullBelow = 1 << 20
)

// Reserve is disk space that a file in a directory reserves for writes on a disk that other programs have filled. It is
// released in pieces, because other programs can take the released space. It is safe for concurrent use and needs no
// closing.
type Reserve struct {
	mu      sync.Mutex
	dir     string
	minFree int64
}

// NewReserve returns the reserve of a directory. It does not fill it: call Refill. Refill leaves at least minFree bytes
// of the disk free.
func NewReserve(dir string, spare int64) *Reserve { return &Reserve{dir: dir, minFree: spare} }

func (r *Reserve) path() string { return filepath.Join(r.dir, ReserveName) }

// size returns the size of the file, 0 if it does not exist. It returns false if the path is not a regular file.
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

// Size returns how many bytes are in reserve.
func (r *Reserve) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	size, _ := r.size()
	return size
}

// Refill fills the reserve to ReserveSize if the disk has enough free space. Otherwise it does nothing.
func (r *Reserve) Refill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	size, ok := r.size()
	if !ok || size >= ReserveSize {
		return
	}
	if free, err := FreeSpace(r.dir); err != nil || free < r.minFree+ReserveSize-size {
		return
	}
	f, err := os.OpenFile(r.path(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if err := allocate(f, size, ReserveSize-size); err != nil {
		_ = f.Truncate(size)
	}
}

// Release returns up to n bytes to the file system, and reports whether there were any.
func (r *Reserve) Release(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	size, _ := r.size()
	return size > 0 && os.Truncate(r.path(), max(0, size-n)) == nil
}

// RetryIfFull calls do. While do fails because the disk is full and the reserve is not empty, it releases a piece of
// the reserve and calls do again.
func (r *Reserve) RetryIfFull(do func() error) error {
	err := do()
	for IsFull(err) && r.Release(reservePiece) {
		err = do()
	}
	return err
}

// NearlyFull reports whether the file system of a directory has less than 1 MiB of free space, so that a failed write
// was probably caused by that.
func NearlyFull(dir string) bool {
	free, err := FreeSpace(dir)
	return err == nil && free < nearlyFullBelow
}

// writeZeros allocates space on file systems that cannot do that without writing.
func writeZeros(f *os.File, from, n int64) error {
	_, err := f.WriteAt(make([]byte, n), from)
	return err
}
