package badgerkv

import (
	"context"
	"errors"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/coffer-storage/coffer/server/kv"
)

// maxChunk bounds the values that one transaction of a batch keeps in memory.
const maxChunk = 16 << 20

// GetMany implements kv.Store.
func (s *Store) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	err := s.readMany(ctx, keys, func(i int, v []byte) { values[i] = append(make([]byte, 0, len(v)), v...) })
	if err != nil {
		return nil, err
	}
	return values, nil
}

// GetManyWithin implements kv.Store.
func (s *Store) GetManyWithin(ctx context.Context, keys []string, limit int) ([]kv.Sized, error) {
	values := make([]kv.Sized, len(keys))
	err := s.readMany(ctx, keys, func(i int, v []byte) {
		n := min(len(v), limit)
		if begin := append(make([]byte, 0, n), v[:n]...); len(v) <= limit {
			values[i] = kv.Sized{Value: begin, Size: len(v)}
		} else {
			values[i] = kv.Sized{Begin: begin, Size: len(v)}
		}
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// readMany calls use with the value of each key that there is, in one transaction.
func (s *Store) readMany(ctx context.Context, keys []string, use func(i int, value []byte)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.View(func(txn *badger.Txn) error {
		for i, key := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, err := read(txn, key, func(v []byte, _ int64) error {
				use(i, v)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return failure("get many", err)
	}
	return nil
}

// CompareAndSwapMany implements kv.Store.
func (s *Store) CompareAndSwapMany(ctx context.Context, swaps []kv.Swap) ([]bool, error) {
	if err := kv.CheckSwaps(swaps); err != nil {
		return nil, err
	}
	swapped := make([]bool, len(swaps))
	done, err := s.batch(ctx, "compare and swap many", len(swaps), func(txn *badger.Txn, i int) (int, error) {
		w := &swaps[i]
		var err error
		swapped[i], err = s.swap(txn, w.Key, w.Old, w.Value)
		return len(w.Value), err
	})
	clear(swapped[done:])
	return swapped, err
}

// SetMany implements kv.Store.
func (s *Store) SetMany(ctx context.Context, entries []kv.Entry) error {
	if err := kv.CheckWrites(entries); err != nil {
		return err
	}
	_, err := s.batch(ctx, "set many", len(entries), func(txn *badger.Txn, i int) (int, error) {
		e := &entries[i]
		return len(e.Value), s.put(txn, newEntry(e.Key, e.Value, expiryAfter(e.TTL)))
	})
	return err
}

// DeleteMany implements kv.Store.
func (s *Store) DeleteMany(ctx context.Context, keys []string) ([]bool, error) {
	existed := make([]bool, len(keys))
	done, err := s.batch(ctx, "delete many", len(keys), func(txn *badger.Txn, i int) (int, error) {
		var err error
		existed[i], err = remove(txn, keys[i])
		return 0, err
	})
	clear(existed[done:])
	return existed, err
}

// batch applies step to 0..n-1 in as few transactions as hold it, and gives the number that was committed;
// step gives the bytes that it added.
func (s *Store) batch(ctx context.Context, op string, n int, step func(txn *badger.Txn, i int) (int, error)) (done int, err error) {
	if n == 0 {
		return 0, s.Ping(ctx)
	}
	for next := 0; next < n; done = next {
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
			return done, append(make(kv.BatchError, done, n), slices.Repeat([]error{err}, n-done)...)
		}
	}
	return n, nil
}
