// Package sqlitekv is the kv.Store embedded in the process: a SQLite database in a directory of its own, for a server
// without Redis.
//
// It guarantees that a write that returned survives the end of the process, a kill included. After a power cut the
// database is intact and lacks at most the last seconds, because this is a cache. Every page has a checksum, which
// is verified when the page is read; damage is kv.ErrDamaged, never a missing key. So are numbers of an entry that do not fit
// its value. On a full disk, writes fail with
// kv.ErrFull while reads and deletions go on. A disk that does not answer holds up calls, and nothing else of the process: no file
// of it is mapped into memory (sqlitefile.Index). One process at a time may open a directory.
package sqlitekv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
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
	stop   context.CancelFunc // maintain
	done   chan struct{}      // maintain has ended

	dir     string
	unlock  func()     // the directory; nil while it is not locked
	id      string     // of the database, random
	writer  chan *conn // holds the one connection that writes while no call uses it
	readers chan *conn
	mover   *conn // moves the log into the database; of maintain
	all     []*conn
	index   *sqlitefile.Index
	marker  *sqlitefile.Marker // of the writer's commits
	unnoted bool               // the last commit
	logger  *slog.Logger
	clock   clock
	quota   int64 // bytes of an owner; 0 means no limit
	space   space
	file    fs.FileInfo  // of the database
	pages   atomic.Int64 // in the write-ahead log
	damaged atomic.Bool  // a call met damage

	moving   sync.Mutex // held to move the log into the database
	lastBlob atomic.Int64
	staged   sync.Map // blobs that running calls write
	promised promises
	left     leftBlobs
}

var (
	_ kv.Store   = (*Store)(nil)
	_ kv.Sweeper = (*Store)(nil)
)

// Option changes what Open opens.
type Option func(*Store)

// WithQuota limits the bytes of the keys and values of each owner of keys (kv.OwnerPrefixOf). Beyond it, a write that lengthens
// an owner's data is kv.ErrQuota. 0 means no limit.
func WithQuota(bytes int64) Option { return func(s *Store) { s.quota = bytes } }

// WithMinFree leaves so many bytes of the disk to others: below it, writes that need new space are kv.ErrFull. Less than
// MinFree is MinFree.
func WithMinFreeSpace(bytes int64) Option { return func(s *Store) { s.space.least = bytes } }

// Open opens the store in dir, which is made with mode 0700 if it does not exist. It returns ErrInUse, and
// kv.ErrDamaged if the database cannot be read. Failures of background work are logged; a nil logger drops them.
func Open(dir string, logger *slog.Logger, options ...Option) (*Store, error) {
	return openAt(dir, logger, clock{time.Now().UnixMilli(), timer()}, options...)
}

// openAt opens the store by a clock.
func openAt(dir string, logger *slog.Logger, c clock, options ...Option) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sqlitekv: %w", err)
	}
	readers := min(maxReaders, max(2, runtime.GOMAXPROCS(0)))
	s := &Store{
		dir: dir, logger: logger, clock: c, writer: make(chan *conn, 1), readers: make(chan *conn, readers),
		done: make(chan struct{}),
	}
	for _, option := range options {
		option(s)
	}
	err := s.open(readers)
	for err != nil && s.unlock != nil && durable.NearlyFull(dir) && s.space.spend() {
		_ = s.release() // the log needs space
		err = s.open(readers)
	}
	if err != nil {
		_ = s.release()
		return nil, fmt.Errorf("sqlitekv: open %s: %w", dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go s.maintain(ctx)
	return s, nil
}

func (s *Store) open(readers int) (err error) {
	locked := false
	if s.unlock, locked, err = durable.TryLock(filepath.Join(s.dir, lockName)); err != nil {
		return err
	}
	if !locked {
		return ErrInUse
	}
	path := filepath.Join(s.dir, fileName)
	if err := sqlitefile.CheckLog(path); err != nil {
		return s.failure("open", err)
	}
	s.space.open(s.dir)
	if s.index, err = sqlitefile.NewIndex(path, s.logger); errors.Is(err, sqlite3.BUSY) {
		return ErrInUse
	}
	if err != nil {
		return s.failure("open", err)
	}
	w, err := s.connect()
	if err != nil {
		return err
	}
	if err := s.begin(w); err != nil {
		return s.failure("open", err)
	}
	if s.marker, err = sqlitefile.OpenMarker(path); err != nil {
		return s.failure("open", err)
	}
	w.WALHook(s.committed)
	s.writer <- w
	for range readers {
		r, err := s.connect()
		if err != nil {
			return err
		}
		s.readers <- r
	}
	if s.mover, err = s.connect(); err != nil {
		return err
	}
	// In go-sqlite3 0.37.0, a checkpoint panics if its connection verifies checksums and another one wrote last. The checkpoint
	// reads no page of the database.
	if err := s.mover.Exec("PRAGMA checksum_verification = OFF"); err != nil {
		return s.failure("open", err)
	}
	if s.file, err = os.Stat(path); err != nil {
		return err
	}
	return s.index.Unlink()
}

// committed is called after each commit of the writer with the pages of the log.
func (s *Store) committed(_ *sqlite3.Conn, _ string, pages int) error {
	s.pages.Store(int64(pages))
	err := s.marker.Record(pages)
	if err != nil && !s.unnoted {
		s.logger.Warn("commits of the embedded cache cannot be noted: after a kill, damage of its log would not be found", "error", err.Error())
	}
	s.unnoted = err != nil
	return nil
}

// checkPlace returns errGone if the database was removed or replaced since it was opened: the next start would not find what is
// written to it.
func (s *Store) checkPlace() error {
	if info, err := os.Stat(filepath.Join(s.dir, fileName)); err != nil || !os.SameFile(info, s.file) {
		return errGone
	}
	return nil
}

// enter begins a call, which leave ends.
func (s *Store) enter() error {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return errClosed
	}
	return nil
}

func (s *Store) leave() { s.mu.RUnlock() }

// take waits for a connection of a pool, which the caller puts back.
func take(ctx context.Context, pool chan *conn) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sqlitekv: %w", err)
	}
	select {
	case c := <-pool:
		return c, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("sqlitekv: %w", ctx.Err())
	}
}

// turn calls do with the connection that writes. Callers get it in the order in which they came.
func (s *Store) turn(ctx context.Context, do func(c *conn) error) error {
	begin := time.Now()
	c, err := take(ctx, s.writer)
	if err != nil {
		return err
	}
	defer func() { s.writer <- c }()
	c.waited = time.Since(begin)
	return do(c)
}

// Ping implements kv.Store. It reads the database's first page.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "ping", func(c *conn) error { return c.Run("SELECT id FROM store") })
}

// Check returns kv.ErrDamaged if any call met damage since Open.
func (s *Store) Check(context.Context) error {
	if s.damaged.Load() {
		return fmt.Errorf("sqlitekv: %w", kv.ErrDamaged)
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
	s.stop()
	<-s.done
	w := <-s.writer
	_ = s.keepTime(w)
	if s.marker.Clear() == nil {
		_, _, _ = w.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE) // if it fails, the next start reads the log
	}
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
	s.marker.Close()
	err, s.index = errors.Join(err, s.index.Close()), nil
	if s.unlock != nil {
		s.unlock()
		s.unlock = nil
	}
	return err
}

var (
	errClosed = fmt.Errorf("sqlitekv: %w", kv.ErrClosed)
	errGone   = fmt.Errorf("sqlitekv: %w: %s is no longer where it was: put it back; a restart begins an empty one", kv.ErrUnavailable, fileName)
	errFull   = fmt.Errorf("sqlitekv: write: %w", kv.ErrFull)
)

// isDamage reports whether an error is due to damage of the database.
func isDamage(err error) bool { return sqlitefile.IsDamage(err) || errors.Is(err, kv.ErrDamaged) }

// failure maps SQLite's errors to kv's. They name no key and no value.
func (s *Store) failure(op string, err error) error {
	switch {
	case errors.Is(err, errFull), errors.Is(err, errQuota):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("sqlitekv: %s: %w", op, err)
	case isDamage(err):
		if !s.damaged.Swap(true) {
			s.logger.Error("the embedded store is damaged: run coffer store check", "operation", op, "error", err.Error())
		}
		return fmt.Errorf("sqlitekv: %s: %w: %w", op, kv.ErrDamaged, err)
	case sqlitefile.IsFull(err, s.dir):
		return fmt.Errorf("sqlitekv: %s: %w: %w", op, kv.ErrFull, err)
	}
	return fmt.Errorf("sqlitekv: %s: %w: %w", op, kv.ErrUnavailable, err)
}
