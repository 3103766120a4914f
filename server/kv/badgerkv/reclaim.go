package badgerkv

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	reclaimEvery = time.Minute
	flushEvery   = time.Hour // for what expires while nothing is written, beside each time that a file of the value log is full
	minGarbage   = 0.5       // share of a value log file that makes it worth rewriting
)

// reclaim returns the space of dead values in the value log to the file system, until Close.
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
	overdue := time.Since(s.flushed) >= flushEvery && s.hasOldFiles()
	if overdue || s.logged.Load() >= s.logSize {
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

// hasOldFiles reports whether there is a value log file beside the one being written.
func (s *Store) hasOldFiles() bool {
	entries, err := os.ReadDir(s.db.Opts().ValueDir)
	if err != nil {
		return true // badger will say what is wrong with the directory
	}
	files := 0
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".vlog" {
			files++
		}
	}
	return files > 1
}

// flush makes badger notice dead values. It counts them only when it compacts the keys that point to
// them, and these are so small that the memory table could hold them for terabytes. Dropping a
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
