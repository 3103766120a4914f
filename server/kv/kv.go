// Package kv is the key-value store beneath Coffer's encrypted cache: a small driver interface that
// package rediskv implements over Redis and package badgerkv over an embedded store in a directory.
//
// What it guarantees: a value comes back byte for byte or not at all, a key's time to live is kept to the
// millisecond, and an error never holds a value or a password. It knows nothing of encryption: what
// it is given should already be a sealed package. Every driver passes the one suite of package kvtest.
package kv

import (
	"context"
	"time"
)

// Limits that every driver holds to, so that what one store takes another takes too.
const (
	// MaxKeySize is the longest key in bytes.
	MaxKeySize = 32 << 10
	// MaxValueSize is the longest value in bytes: a one-piece value of 64 MiB, with room for the header
	// and the context of its package.
	MaxValueSize = 64<<20 + 64<<10
)

// DefaultScanLimit is the page size of Scan when its limit is not positive.
const DefaultScanLimit = 1000

// Entry is one write of SetMany.
type Entry struct {
	Key   string
	Value []byte
	TTL   time.Duration // 0 keeps the entry until it is deleted
}

// Sized is an answer of GetManyWithin.
type Sized struct {
	Value []byte // nil where there is no key, and where the value is longer than the limit; else never
	Begin []byte // of a value that is longer, what it begins with, up to the limit
	Size  int    // of the value
}

// Swap is one step of CompareAndSwapMany.
type Swap struct {
	Key        string
	Old, Value []byte
}

// Count gives the number that were there, of what DeleteMany reports.
func Count(existed []bool) (n int) {
	for _, was := range existed {
		if was {
			n++
		}
	}
	return n
}

// Store is a key-value store whose entries may expire. It is safe for concurrent use.
//
// Keys are strings of any bytes up to MaxKeySize, the empty one included; values are any bytes up to
// MaxValueSize, none included. A store keeps no reference to a value it was given once the call has
// returned. A value it gave may be kept by the caller, but not changed: the driver's client may share it.
//
// A missing or expired key is an answer, not an error: a cache misses all the time, and a boolean costs
// neither an allocation nor a walk along an error chain.
//
// A TTL is rounded up to the millisecond; 0 means none, a negative one is ErrInvalidTTL. Every method
// can fail with ErrUnavailable, with ErrClosed after Close, or with the context's error; after a failed
// write the entry may have been written or not.
type Store interface {
	// Get gives the value of key; ok is false where there is none.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)

	// GetWithin is Get for values of at most limit bytes. Of a longer one it gives the size alone, with a nil value.
	GetWithin(ctx context.Context, key string, limit int) (value []byte, size int, ok bool, err error)

	// Set writes value, replacing an earlier value together with its TTL.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Delete removes key and reports whether it was there.
	Delete(ctx context.Context, key string) (existed bool, err error)

	// Exists reports whether key is there, without reading its value.
	Exists(ctx context.Context, key string) (bool, error)

	// TTL gives the time that key has left, 0 where it has no limit; ok is false where there is no key.
	TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error)

	// GetMany gives one value for each key, in the order of keys: nil for a missing key, and never nil for
	// one that is there. The batch is not one point in time.
	GetMany(ctx context.Context, keys []string) ([][]byte, error)

	// GetManyWithin is GetMany for values of at most limit bytes. Of a longer one it gives the beginning and the size.
	GetManyWithin(ctx context.Context, keys []string, limit int) ([]Sized, error)

	// SetMany writes the entries as Set would, in order, so that the last of several with one key
	// stays. An entry that breaks a limit fails the batch before anything is written; otherwise the
	// batch is not atomic: after an error some entries may have been written, and a BatchError says which.
	SetMany(ctx context.Context, entries []Entry) error

	// DeleteMany removes the keys in order, and reports of each whether it was there: of a key named twice
	// the first time only. After a BatchError those that it tells no error of were removed.
	DeleteMany(ctx context.Context, keys []string) (existed []bool, err error)

	// Scan lists keys that begin with prefix, a page of about limit keys at a time (DefaultScanLimit where
	// limit is not positive). It begins with the empty cursor, goes on with the one that it
	// gave, and has ended when that is empty. A key that is there from the first page to the last is listed at
	// least once, one that comes or goes meanwhile may be; a page may repeat keys or be empty. The
	// cursor holds any bytes and means nothing to another store.
	Scan(ctx context.Context, prefix, cursor string, limit int) (keys []string, next string, err error)

	// CompareAndSwap replaces the value of key in one step if it now equals old, and keeps the time that
	// key has left. It reports false where the value differs or there is no key.
	CompareAndSwap(ctx context.Context, key string, old, value []byte) (swapped bool, err error)

	// CompareAndSwapMany is CompareAndSwap for each of the swaps, in their order, and tells for each whether
	// it was made. One that breaks a limit fails the batch before anything is written; otherwise the batch is
	// not atomic: after an error some may have been made.
	CompareAndSwapMany(ctx context.Context, swaps []Swap) (swapped []bool, err error)

	// SetIf writes value with ttl as Set does, in one step, if the value of key now equals old, or, where old
	// is nil, if there is no key. It reports false, and changes nothing, where that is not so.
	SetIf(ctx context.Context, key string, old, value []byte, ttl time.Duration) (written bool, err error)

	// DeleteIf removes key in one step if its value now equals old.
	DeleteIf(ctx context.Context, key string, old []byte) (deleted bool, err error)

	// ExpireIf gives key the time ttl from now, 0 for ever, in one step if its value now equals old.
	ExpireIf(ctx context.Context, key string, old []byte, ttl time.Duration) (changed bool, err error)

	// Ping asks whether the store can be reached now.
	Ping(ctx context.Context) error

	// Close releases what the store owns; calling it again does nothing.
	Close() error
}
