package badgerkv

import (
	"bytes"
	"context"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/coffer-storage/coffer/server/kv"
)

// SetIf implements kv.Store.
func (s *Store) SetIf(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	if err := kv.CheckWrite(key, value, ttl); err != nil {
		return false, err
	}
	return s.conditional(ctx, "set if", key, old, func(txn *badger.Txn) error {
		return s.put(txn, newEntry(key, value, expiryAfter(ttl)))
	})
}

// DeleteIf implements kv.Store.
func (s *Store) DeleteIf(ctx context.Context, key string, old []byte) (bool, error) {
	return s.conditional(ctx, "delete if", key, notNil(old), func(txn *badger.Txn) error { return txn.Delete(storedKey(key)) })
}

// ExpireIf implements kv.Store.
func (s *Store) ExpireIf(ctx context.Context, key string, old []byte, ttl time.Duration) (bool, error) {
	if err := kv.CheckWrite(key, nil, ttl); err != nil {
		return false, err
	}
	return s.conditional(ctx, "expire if", key, notNil(old), func(txn *badger.Txn) error {
		return s.put(txn, newEntry(key, old, expiryAfter(ttl)))
	})
}

func notNil(old []byte) []byte {
	if old == nil {
		return []byte{}
	}
	return old
}

// conditional runs change in the transaction that found the value of key equal to old, or, where old is nil, no key.
func (s *Store) conditional(ctx context.Context, op, key string, old []byte, change func(*badger.Txn) error) (done bool, err error) {
	err = s.update(ctx, op, func(txn *badger.Txn) error {
		same := false
		there, err := read(txn, key, func(current []byte, _ int64) error {
			same = old != nil && bytes.Equal(current, old)
			return nil
		})
		if done = same || !there && old == nil; err != nil || !done {
			return err
		}
		return change(txn)
	})
	return done && err == nil, err
}
