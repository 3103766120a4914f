// Package badgerkv is the kv.Store embedded in the process: badger, in a directory of its own, for a server
// without Redis.
//
// A write that returned survives the end of the process, a kill included; it is not synced to the disk, so a
// power cut can lose the last seconds: this is a cache. One process at a time may open a
// directory. Badger maps its files into memory, so keep the disk from filling up: a write that finds no room
// may end the process.
package badgerkv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/coffer-storage/coffer/server/kv"
)

// Sizes. A transaction holds 15% of the memory table, where a value from the threshold up counts with
// its pointer only, because it goes to the value log: so values of 64 MiB fit beside a small table. The low threshold
// was measured: with half a GiB of values of 1 to 8 KiB written, the heap took 50 to 85 MB and not 450
// to 570 as with 32 KiB, and writes and reads were 1.6 and 2.3 times as fast or better.
const (
	memTableSize   = 8 << 20
	memTables      = 3
	valueThreshold = 1 << 10
	valueLogSize   = 256 << 20
	formatVersion  = 1 // of the records, kept in badger's manifest: another one does not open
)

// ErrInUse: another process, or another Store of this one, has the directory open.
var ErrInUse = errors.New("the directory is in use by another process")

// Store is a kv.Store in a directory.
type Store struct {
	mu     sync.RWMutex // held for reading by every call, for writing by Close and by a flush
	db     *badger.DB
	closed bool

	logSize int64        // of a file of the value log
	logged  atomic.Int64 // bytes put into the value log since the last flush, without headers
	flushed time.Time    // when that was; the loop's own
	stop    chan struct{}
	done    chan struct{}
}

var _ kv.Store = (*Store)(nil)

// Open opens the store in dir, which is made with mode 0700 if it is not there. Badger's messages go
// to logger, its errors as such and all else at debug level; nil drops them.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	return openWith(dir, logger, valueLogSize)
}

func openWith(dir string, logger *slog.Logger, logSize int64) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("badgerkv: %w", err)
	}
	db, err := badger.Open(settings(dir, logger).WithValueLogFileSize(logSize))
	if err != nil {
		// Badger does not wrap the lock's error, and knows it by this sentence only.
		if strings.Contains(err.Error(), "Another process is using this Badger database") {
			return nil, fmt.Errorf("badgerkv: open %s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("badgerkv: open %s: %w", dir, err)
	}
	s := &Store{db: db, logSize: logSize, flushed: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	go s.reclaim(logger)
	return s, nil
}

// settings: sealed packages do not compress, so tables are mapped as they are and need no block cache.
func settings(dir string, logger *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(messages{logger}).
		WithExternalMagic(formatVersion).
		WithSyncWrites(false).
		WithMetricsEnabled(false).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithNumCompactors(2).
		WithMemTableSize(memTableSize).
		WithNumMemtables(memTables).
		WithValueThreshold(valueThreshold)
}

// enter begins a call, which holds s.mu for reading until it calls leave: closing badger unmaps what a
// running transaction reads.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("badgerkv: %w", err)
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return fmt.Errorf("badgerkv: %w", kv.ErrClosed)
	}
	return nil
}

func (s *Store) leave() { s.mu.RUnlock() }

// Ping implements kv.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.leave()
	return nil
}

// Close waits for running calls, writes what badger holds in memory and releases the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock() // the loop may be waiting for it
	close(s.stop)
	<-s.done
	if err := s.db.Close(); err != nil {
		return failure("close", err)
	}
	return nil
}

// failure wraps what badger returned. Its errors of a transaction name no key and no value.
func failure(op string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errRecord):
		return fmt.Errorf("badgerkv: %s: %w", op, err)
	case errors.Is(err, badger.ErrTxnTooBig):
		return fmt.Errorf("badgerkv: %s: %w", op, kv.ErrTooLarge)
	case errors.Is(err, badger.ErrDBClosed):
		return fmt.Errorf("badgerkv: %s: %w", op, kv.ErrClosed)
	}
	return fmt.Errorf("badgerkv: %s: %w: %w", op, kv.ErrUnavailable, err)
}

// now is the clock of expiry, in Unix milliseconds.
func now() int64 { return time.Now().UnixMilli() }
