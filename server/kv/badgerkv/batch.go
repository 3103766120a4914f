package badgerkv

import (
	"context"
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/coffer-storage/coffer/server/kv"
)

// maxChunk bounds the values that one transaction of a batch keeps in memory.
const maxChunk = 16 << 20

// GetMany implements kv.Store.
func (s *Store) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	values := make([][]byte, len(keys))
	err := s.db.View(func(txn *badger.Txn) error {
		for i, key := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, err := read(txn, key, func(v []byte, _ int64) error {
				values[i] = append(make([]byte, 0, len(v)), v...)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, failure("get many", err)
	}
	return values, nil
}

// SetMany implements kv.Store.
func (s *Store) SetMany(ctx context.Context, entries []kv.Entry) error {
	if err := kv.CheckWrites(entries); err != nil {
		return err
	}
	return s.batch(ctx, "set many", len(entries), func(txn *badger.Txn, i int) (int, error) {
		e := &entries[i]
		return len(e.Value), s.put(txn, newEntry(e.Key, e.Value, expiryAfter(e.TTL)))
	})
}

// DeleteMany implements kv.Store.
func (s *Store) DeleteMany(ctx context.Context, keys []string) (int, error) {
	existed := make([]bool, len(keys))
	err := s.batch(ctx, "delete many", len(keys), func(txn *badger.Txn, i int) (int, error) {
		var err error
		existed[i], err = remove(txn, keys[i])
		return 0, err
	})
	deleted := 0
	for _, was := range existed {
		if was {
			deleted++
		}
	}
	return deleted, err
}

// batch applies step to 0..n-1 in as few transactions as hold it; step gives the bytes that it added.
func (s *Store) batch(ctx context.Context, op string, n int, step func(txn *badger.Txn, i int) (int, error)) error {
	if n == 0 {
		return s.Ping(ctx)
	}
	for next := 0; next < n; {
		begin := next
		err := s.update(ctx, op, func(txn *badger.Txn) error {
			next = begin // a transaction that met a conflict runs again
			for size := 0; next < n && size < maxChunk; next++ {
				added, err := step(txn, next)
				if errors.Is(err, badger.ErrTxnTooBig) && next > begin {
					return nil // commit what fits; the rest goes into the next one
				}
				if err != nil {
					return err
				}
				size += added
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
