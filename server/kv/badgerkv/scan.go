package badgerkv

import (
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/coffer-storage/coffer/server/kv"
)

var errCursor = fmt.Errorf("badgerkv: scan: %w", kv.ErrCursor)

// Scan implements kv.Store. Keys come in the order of their bytes; the cursor is the last one listed, as stored.
func (s *Store) Scan(ctx context.Context, prefix, cursor string, limit int) (keys []string, next string, err error) {
	if cursor != "" && cursor[0] != keyPrefix {
		return nil, "", errCursor
	}
	if limit <= 0 {
		limit = kv.DefaultScanLimit
	}
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	err = s.db.View(func(txn *badger.Txn) error {
		keys, next, err = page(ctx, txn, storedKey(prefix), cursor, limit)
		return err
	})
	if err != nil {
		return nil, "", failure("scan", err)
	}
	return keys, next, nil
}

func page(ctx context.Context, txn *badger.Txn, prefix []byte, cursor string, limit int) (keys []string, next string, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	from := prefix
	if cursor != "" {
		from = append([]byte(cursor), 0) // the least key after it
	}
	for it.Seek(from); it.ValidForPrefix(prefix); it.Next() {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		live, err := alive(it.Item())
		if err != nil {
			return nil, "", err
		}
		if !live {
			continue
		}
		stored := it.Item().Key()
		keys = append(keys, string(stored[1:]))
		if len(keys) == limit {
			return keys, string(stored), nil
		}
	}
	return keys, "", nil
}

// alive reads a record only where badger's rounded expiry leaves a doubt: in its last second.
func alive(item *badger.Item) (bool, error) {
	left := int64(item.ExpiresAt()) - time.Now().Unix()
	if item.ExpiresAt() == 0 || left > 1 {
		return true, nil
	}
	return readItem(item, present)
}
