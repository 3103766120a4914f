package badgerkv

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/coffer-storage/coffer/server/kv"
)

// view runs read on key in a transaction of its own.
func (s *Store) view(ctx context.Context, op, key string, use func(value []byte, expiry int64) error) (ok bool, err error) {
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	err = s.db.View(func(txn *badger.Txn) error {
		ok, err = read(txn, key, use)
		return err
	})
	if err != nil {
		return false, failure(op, err)
	}
	return ok, nil
}

// Get implements kv.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	ok, err = s.view(ctx, "get", key, func(v []byte, _ int64) error {
		value = append(make([]byte, 0, len(v)), v...)
		return nil
	})
	return value, ok, err
}

// GetWithin implements kv.Store.
func (s *Store) GetWithin(ctx context.Context, key string, limit int) (value []byte, size int, ok bool, err error) {
	ok, err = s.view(ctx, "get", key, func(v []byte, _ int64) error {
		if size = len(v); size <= limit {
			value = append(make([]byte, 0, size), v...)
		}
		return nil
	})
	return value, size, ok, err
}

// Exists implements kv.Store.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	return s.view(ctx, "exists", key, present)
}

// TTL implements kv.Store.
func (s *Store) TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error) {
	ok, err = s.view(ctx, "ttl", key, func(_ []byte, expiry int64) error {
		if expiry != 0 {
			left = max(time.Until(time.UnixMilli(expiry)), time.Millisecond)
		}
		return nil
	})
	return left, ok, err
}

// Set implements kv.Store.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := kv.CheckWrite(key, value, ttl); err != nil {
		return err
	}
	return s.update(ctx, "set", func(txn *badger.Txn) error {
		return s.put(txn, newEntry(key, value, expiryAfter(ttl)))
	})
}

// Delete implements kv.Store.
func (s *Store) Delete(ctx context.Context, key string) (existed bool, err error) {
	err = s.update(ctx, "delete", func(txn *badger.Txn) error {
		existed, err = remove(txn, key)
		return err
	})
	return existed && err == nil, err
}

// CompareAndSwap implements kv.Store.
func (s *Store) CompareAndSwap(ctx context.Context, key string, old, value []byte) (swapped bool, err error) {
	if err := kv.CheckWrite(key, value, 0); err != nil {
		return false, err
	}
	err = s.update(ctx, "compare and swap", func(txn *badger.Txn) error {
		var err error
		swapped, err = s.swap(txn, key, old, value)
		return err
	})
	return swapped && err == nil, err
}

// swap puts value in the place of old, where that is what is there.
func (s *Store) swap(txn *badger.Txn, key string, old, value []byte) (same bool, err error) {
	var expires int64
	_, err = read(txn, key, func(current []byte, expiry int64) error {
		same, expires = bytes.Equal(current, old), expiry
		return nil
	})
	if err != nil || !same {
		return false, err
	}
	return true, s.put(txn, newEntry(key, value, expires))
}

// update runs change in a transaction, again for as long as another one wrote what it had read.
func (s *Store) update(ctx context.Context, op string, change func(*badger.Txn) error) error {
	for {
		if err := s.enter(ctx); err != nil {
			return err
		}
		err := s.db.Update(change)
		s.leave()
		if err == nil {
			return nil
		}
		if !errors.Is(err, badger.ErrConflict) {
			return failure(op, err)
		}
	}
}

func (s *Store) put(txn *badger.Txn, e *badger.Entry) error {
	if len(e.Value) >= valueThreshold {
		s.logged.Add(int64(len(e.Value)))
	}
	return txn.SetEntry(e)
}

func remove(txn *badger.Txn, key string) (existed bool, err error) {
	existed, err = read(txn, key, present)
	if err != nil || !existed {
		return false, err
	}
	return true, txn.Delete(storedKey(key))
}
