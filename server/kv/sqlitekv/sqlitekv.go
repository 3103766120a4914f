// Package sqlitekv implements kv.Store in a SQLite database within the process, for a server without Redis.
//
// The package guarantees:
//
//   - A write that returned survives the end of the process, even by a kill. After a power cut, the database is intact
//     but may lack the last seconds, which is acceptable for a cache.
//   - Damage is reported as kv.ErrDamaged, never as a missing key. Each page has a checksum, which is verified whenever
//     the page is read, and the numbers of an entry must match its value.
//   - On a full disk, writes fail with kv.ErrFull, and reads and deletions still work.
//   - A disk that does not respond blocks calls of the store, but not the rest of the process, because no file of the
//     disk is mapped into memory (see sqlitefile.Index).
//
// One process at a time can open a directory. [Check] and [Repair] are for a store that no process has open.
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

// ErrInUse reports that another process, or another Store of this process, has the directory open.
var ErrInUse = errors.New("the directory is in use by another process")

const (
	fileName   = "cache.db"
	lockName   = "lock"
	maxReaders = 4
)

// Store is a kv.Store in a directory. It is safe for concurrent use. Open starts a goroutine for maintenance, and Close
// ends it.
type Store struct {
	mu              sync.RWMutex // read-locked by every call, locked by Close
	closed          bool
	stopMaintenance context.CancelFunc // ends maintain
	maintenanceDone chan struct{}      // closed when maintain has ended

	dir          string
	unlock       func()     // unlocks the directory; nil if it is not locked
	id           string     // random id of the database
	writer       chan *conn // contains the only connection that writes, while no call uses it
	readers      chan *conn
	checkpointer *conn // connection of maintain that moves the log into the database
	conns        []*conn
	index        *sqlitefile.Index
	marker       *sqlitefile.Marker // records the commits of the writer
	markFailing  bool               // the last commit could not be recorded
	logger       *slog.Logger
	clock        clock
	quota        int64 // bytes for each owner; 0 means no limit
	space        space
	fileInfo     fs.FileInfo  // identity of the database file
	logPages     atomic.Int64 // number of pages in the write-ahead log
	damaged      atomic.Bool  // a call found damage

	checkpointMu sync.Mutex // held to move the log into the database
	lastBlob     atomic.Int64
	stagedBlobs  sync.Map // blobs that running calls are writing
	reservations reservations
	abandoned    abandonedBlobs
}

var (
	_ kv.Store   = (*Store)(nil)
	_ kv.Sweeper = (*Store)(nil)
)

// Option is an option of Open.
type Option func(*Store)

// WithQuota limits the size of the keys and values of each owner (kv.OwnerPrefixOf) to a number of bytes. A write that
// would exceed it fails with kv.ErrQuota. 0 means no limit.
func WithQuota(bytes int64) Option { return func(s *Store) { s.quota = bytes } }

// WithMinFreeSpace leaves a number of bytes of the disk to other programs: if less is free, writes of tenants' entries
// that need new space fail with kv.ErrFull. The least value is MinFreeSpace.
func WithMinFreeSpace(bytes int64) Option { return func(s *Store) { s.space.minFree = bytes } }

// Open opens the store in dir. It creates dir with mode 0700 if it does not exist. It returns ErrInUse if the store is
// already open, and kv.ErrDamaged if the database cannot be read. Failures in the background are written to logger; a
// nil logger drops them. Open starts a goroutine. The caller must call Close.
func Open(dir string, logger *slog.Logger, options ...Option) (*Store, error) {
	return openAt(dir, logger, clock{time.Now().UnixMilli(), monotonicTimer()}, options...)
}

// openAt opens the store with a given clock.
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
		maintenanceDone: make(chan struct{}),
	}
	for _, option := range options {
		option(s)
	}
	err := s.open(readers)
	for err != nil && s.unlock != nil && durable.NearlyFull(dir) && s.space.releaseReserve() {
		_ = s.release() // frees the connections before the next attempt, which needs space for the log
		err = s.open(readers)
	}
	if err != nil {
		_ = s.release()
		return nil, fmt.Errorf("sqlitekv: open %s: %w", dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stopMaintenance = cancel
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
	// Before SQLite opens the log: it would silently drop the transactions behind damage.
	if err := sqlitefile.CheckLog(path); err != nil {
		return s.mapError("open", err)
	}
	s.space.open(s.dir)
	if s.index, err = sqlitefile.NewIndex(path, s.logger); errors.Is(err, sqlite3.BUSY) {
		return ErrInUse
	}
	if err != nil {
		return s.mapError("open", err)
	}
	w, err := s.connect()
	if err != nil {
		return err
	}
	if err := s.loadState(w); err != nil {
		return s.mapError("open", err)
	}
	// After the first connection, which creates the log, and before the first commit that is to be recorded.
	if s.marker, err = sqlitefile.OpenMarker(path); err != nil {
		return s.mapError("open", err)
	}
	w.WALHook(s.onCommit)
	s.writer <- w
	for range readers {
		r, err := s.connect()
		if err != nil {
			return err
		}
		s.readers <- r
	}
	if s.checkpointer, err = s.connect(); err != nil {
		return err
	}
	// In go-sqlite3 0.37.0, a checkpoint panics if its connection verifies checksums and another connection wrote last.
	// A checkpoint does not read pages of the database, so it needs no verification.
	if err := s.checkpointer.Exec("PRAGMA checksum_verification = OFF"); err != nil {
		return s.mapError("open", err)
	}
	if s.fileInfo, err = os.Stat(path); err != nil {
		return err
	}
	return s.index.Unlink() // last, because connections open the index by its name
}

// onCommit is called after each commit of the writer with the number of pages in the log.
func (s *Store) onCommit(_ *sqlite3.Conn, _ string, pages int) error {
	s.logPages.Store(int64(pages))
	err := s.marker.Record(pages)
	if err != nil && !s.markFailing {
		s.logger.Warn("commits of the embedded cache cannot be recorded: after a kill, damage of its log would not be detected", "error", err.Error())
	}
	s.markFailing = err != nil
	return nil
}

// checkFileInPlace returns errFileGone if the database was removed or replaced since Open, because the next start would
// not find what is written to the open file.
func (s *Store) checkFileInPlace() error {
	if info, err := os.Stat(filepath.Join(s.dir, fileName)); err != nil || !os.SameFile(info, s.fileInfo) {
		return errFileGone
	}
	return nil
}

// beginCall begins a call of the store. The caller must end it with endCall.
func (s *Store) beginCall() error {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return errClosed
	}
	return nil
}

func (s *Store) endCall() { s.mu.RUnlock() }

// takeConn waits for a connection of a pool. The caller must put it back.
func takeConn(ctx context.Context, pool chan *conn) (*conn, error) {
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

// withWriter calls do with the connection that writes. Callers get it in the order of their calls.
func (s *Store) withWriter(ctx context.Context, do func(c *conn) error) error {
	begin := time.Now()
	c, err := takeConn(ctx, s.writer)
	if err != nil {
		return err
	}
	defer func() { s.writer <- c }()
	c.waited = time.Since(begin)
	return do(c)
}

// Ping implements kv.Store. It reads the first page of the database.
func (s *Store) Ping(ctx context.Context) error {
	return s.withReader(ctx, "ping", func(c *conn) error { return c.Run("SELECT id FROM store") })
}

// Check returns kv.ErrDamaged if any call has found damage since Open.
func (s *Store) Check(context.Context) error {
	if s.damaged.Load() {
		return fmt.Errorf("sqlitekv: %w", kv.ErrDamaged)
	}
	return nil
}

// Close waits for running calls and for maintenance, and releases the directory. Calling it again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stopMaintenance()
	<-s.maintenanceDone
	w := <-s.writer
	_ = s.storeClock(w) // if it fails, the database keeps an earlier time
	// The mark goes first: after a kill, a mark without its log would look like damage.
	if s.marker.Clear() == nil {
		_, _, _ = w.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE) // if it fails, the next start reads the log
	}
	if err := s.release(); err != nil {
		return s.mapError("close", err)
	}
	return nil
}

func (s *Store) release() (err error) {
	for _, c := range s.conns {
		err = errors.Join(err, c.Close())
	}
	s.conns = nil
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
	errClosed   = fmt.Errorf("sqlitekv: %w", kv.ErrClosed)
	errFileGone = fmt.Errorf("sqlitekv: %w: %s was moved or removed: put it back, because a restart creates an empty store", kv.ErrUnavailable, fileName)
	errFull     = fmt.Errorf("sqlitekv: write: %w", kv.ErrFull)
)

// isDamage reports whether an error is caused by damage of the database.
func isDamage(err error) bool { return sqlitefile.IsDamage(err) || errors.Is(err, kv.ErrDamaged) }

// mapError maps errors of SQLite to errors of package kv. The results contain no keys and no values.
func (s *Store) mapError(op string, err error) error {
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
