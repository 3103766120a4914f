// Package sqlitekv is the kv.Store embedded in the process: a SQLite database in a directory of its own, for a server
// without Redis.
//
// It guarantees that a write that returned survives the end of the process, a kill included. After a power cut the
// database is intact and lacks at most the last seconds, because this is a cache. Every page has a checksum, which
// is verified when the page is read; damage is kv.ErrDamaged, never a missing key. On a full disk, writes fail with
// kv.ErrFull while reads and deletions go on. Files are never mapped into memory, except for the log's index; its
// space is allocated first. One process at a time may open a directory.
package sqlitekv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/kv"
)

// ErrInUse: another process, or another Store of this one, has the directory open.
var ErrInUse = errors.New("the directory is in use by another process")

const (
	fileName   = "cache.db"
	lockName   = "lock"
	maxReaders = 4
)

// Store is a kv.Store in a directory. It starts a goroutine, which Close ends.
type Store struct {
	mu     sync.RWMutex // held for reading by every call, for writing by Close
	closed bool

	dir     string
	lock    *os.File
	id      string     // of the database, random
	writer  chan *conn // holds the one connection that writes while no call uses it
	readers chan *conn
	all     []*conn
	logger  *slog.Logger
	space   space
	pages   atomic.Int64 // in the write-ahead log
	stop    chan struct{}
	done    chan struct{}
}

var (
	_ kv.Store   = (*Store)(nil)
	_ kv.Sweeper = (*Store)(nil)
)

// Open opens the store in dir, which is made with mode 0700 if it does not exist. It returns ErrInUse, and
// kv.ErrDamaged if the database cannot be read. Failures of background work are logged; a nil logger drops them.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sqlitekv: %w", err)
	}
	readers := min(maxReaders, max(2, runtime.GOMAXPROCS(0)))
	s := &Store{
		dir: dir, logger: logger, writer: make(chan *conn, 1), readers: make(chan *conn, readers),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	err := s.open(readers)
	if err != nil && s.lock != nil && s.space.exhausted() && s.space.spend() {
		_ = s.release() // the log and its index need space
		err = s.open(readers)
	}
	if err != nil {
		_ = s.release()
		return nil, fmt.Errorf("sqlitekv: open %s: %w", dir, err)
	}
	go s.maintain()
	return s, nil
}

func (s *Store) open(readers int) (err error) {
	if s.lock, err = lockFile(filepath.Join(s.dir, lockName)); err != nil {
		return err
	}
	s.space.open(s.dir)
	path := filepath.Join(s.dir, fileName)
	w, err := s.connect(path)
	if err != nil {
		return err
	}
	for row, err := range w.Rows("SELECT id FROM store") {
		if err != nil {
			return s.failure("open", err)
		}
		s.id = row.ColumnText(0)
	}
	w.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		s.pages.Store(int64(pages))
		return nil
	})
	s.writer <- w
	for range readers {
		r, err := s.connect(path)
		if err != nil {
			return err
		}
		s.readers <- r
	}
	return nil
}

// take begins a call with a connection of a pool, which give ends.
func (s *Store) take(ctx context.Context, pool chan *conn) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sqlitekv: %w", err)
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return nil, errClosed
	}
	select {
	case c := <-pool:
		return c, nil
	case <-ctx.Done():
		s.mu.RUnlock()
		return nil, fmt.Errorf("sqlitekv: %w", ctx.Err())
	}
}

func (s *Store) give(pool chan *conn, c *conn) {
	pool <- c
	s.mu.RUnlock()
}

// Ping implements kv.Store. It reads the database's first page.
func (s *Store) Ping(ctx context.Context) error {
	c, err := s.take(ctx, s.readers)
	if err != nil {
		return err
	}
	defer s.give(s.readers, c)
	if err := c.Run("SELECT id FROM store"); err != nil {
		return s.failure("ping", err)
	}
	return nil
}

// Close waits for running calls and releases the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	w := <-s.writer
	_, _, _ = w.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE) // if it fails, the next start reads the log
	if err := s.release(); err != nil {
		return s.failure("close", err)
	}
	return nil
}

func (s *Store) release() (err error) {
	for _, c := range s.all {
		err = errors.Join(err, c.Close())
	}
	s.all = nil
	for len(s.readers) > 0 {
		<-s.readers
	}
	for len(s.writer) > 0 {
		<-s.writer
	}
	if s.lock != nil {
		_ = s.lock.Close()
		s.lock = nil
	}
	return err
}

var errClosed = fmt.Errorf("sqlitekv: %w", kv.ErrClosed)

// failure maps SQLite's errors to kv's. They name no key and no value.
func (s *Store) failure(op string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kv.ErrFull), errors.Is(err, kv.ErrDamaged):
		return fmt.Errorf("sqlitekv: %s: %w", op, err)
	case sqlitefile.IsDamage(err):
		return fmt.Errorf("sqlitekv: %s: %w: %w", op, kv.ErrDamaged, err)
	case errors.Is(err, sqlite3.FULL), errors.Is(err, sqlite3.IOERR) && s.space.exhausted():
		return fmt.Errorf("sqlitekv: %s: %w: %w", op, kv.ErrFull, err)
	}
	return fmt.Errorf("sqlitekv: %s: %w: %w", op, kv.ErrUnavailable, err)
}

// now is the clock of expiry, in Unix milliseconds.
func now() int64 { return time.Now().UnixMilli() }
