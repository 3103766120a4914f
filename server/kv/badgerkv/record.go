package badgerkv

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// A key is stored behind one byte, since badger refuses an empty key and keeps a prefix to itself. A record is
//
//	expiry  8 bytes, big-endian, Unix milliseconds, 0 = never
//	value   the rest
//
// because badger's own expiry counts whole seconds. That one is set too, rounded up: it lets compaction
// drop the record.
const (
	keyPrefix    = 'k'
	recordHeader = 8

	// Not of the store's keys: see flush.
	dropped    = 'd'
	beforeKeys = 'j'
	afterKeys  = 'l'
)

// errRecord: what lies under a key was not written by this package.
var errRecord = errors.New("damaged record")

func storedKey(key string) []byte {
	b := make([]byte, 1+len(key))
	b[0] = keyPrefix
	copy(b[1:], key)
	return b
}

// expiryAfter turns a TTL into an expiry, rounded up to the millisecond.
func expiryAfter(ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	end := time.Now().Add(ttl)
	if end.Nanosecond()%int(time.Millisecond) != 0 {
		return end.UnixMilli() + 1
	}
	return end.UnixMilli()
}

func newEntry(key string, value []byte, expiry int64) *badger.Entry {
	record := make([]byte, recordHeader+len(value))
	binary.BigEndian.PutUint64(record, uint64(expiry))
	copy(record[recordHeader:], value)
	e := badger.NewEntry(storedKey(key), record)
	if expiry != 0 {
		e.ExpiresAt = uint64((expiry + 999) / 1000)
	}
	return e
}

// read calls use with the live record of key, and reports whether there is one. The value is badger's
// memory, gone when use returns.
func read(txn *badger.Txn, key string, use func(value []byte, expiry int64) error) (bool, error) {
	item, err := txn.Get(storedKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return readItem(item, use)
}

func readItem(item *badger.Item, use func(value []byte, expiry int64) error) (live bool, err error) {
	err = item.Value(func(record []byte) error {
		if len(record) < recordHeader {
			return errRecord
		}
		expiry := int64(binary.BigEndian.Uint64(record))
		if live = expiry == 0 || now() < expiry; !live {
			return nil
		}
		return use(record[recordHeader:], expiry)
	})
	return live, err
}

// present is a use that only asks whether the record is there.
func present([]byte, int64) error { return nil }
