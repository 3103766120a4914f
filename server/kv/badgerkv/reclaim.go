package badgerkv

import (
	"errors"
	"log/slog"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	reclaimEvery = time.Minute
	flushAfter   = valueLogSize // bytes of large values written
	flushEvery   = time.Hour    // for those that expire while nothing is written
	minGarbage   = 0.5          // share of a value log file that makes it worth rewriting
)

// reclaim returns the space of dead large values to the file system, until Close.
func (s *Store) reclaim(logger *slog.Logger) {
	defer close(s.done)
	ticker := time.NewTicker(reclaimEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		if err := s.collect(); err != nil {
			logger.Error("badgerkv: reclaiming space failed", "error", err)
		}
	}
}

func (s *Store) collect() error {
	if s.logged.Load() >= flushAfter || time.Since(s.flushed) >= flushEvery {
		if err := s.flush(); err != nil {
			return err
		}
	}
	for {
		select {
		case <-s.stop:
			return nil
		default:
		}
		err := s.db.RunValueLogGC(minGarbage)
		if errors.Is(err, badger.ErrNoRewrite) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// flush makes badger notice dead large values. It counts them only when it compacts the keys that point
// to them, and these are so small that the memory table would hold them for terabytes. Dropping a
// prefix writes the memory table out and compacts it; the keys before and after all others make that
// compaction cover every key.
func (s *Store) flush() error {
	s.mu.Lock() // badger refuses writes meanwhile
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.logged.Store(0)
	s.flushed = time.Now()
	err := s.db.Update(func(txn *badger.Txn) error {
		for _, key := range []byte{beforeKeys, dropped, afterKeys} {
			if err := txn.Set([]byte{key}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.db.DropPrefix([]byte{dropped})
}
