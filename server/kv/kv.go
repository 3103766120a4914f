// Package kv is the key-value store beneath Coffer's encrypted cache: a small interface that package rediskv
// implements over Redis and package sqlitekv over an embedded database in a directory.
//
// It guarantees that a value comes back byte for byte or not at all, that a time to live is kept to the millisecond,
// that a conditional write whose reply was lost is not reported as refused, and that an error never holds a value
// or a password. It knows nothing of encryption: its values should already be sealed packages. Every driver passes
// the suite of package kvtest.
//
// Drivers implement Store. Callers use the functions of this package (Get, Set, SetIf and so on), which read back
// the outcome of a write if its reply was lost.
package kv

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Limits that every driver enforces, so that one store accepts what another does.
const (
	// MaxKeySize is the longest key in bytes.
	MaxKeySize = 32 << 10
	// MaxValueSize is the longest value in bytes: a one-piece value of 64 MiB, with room for the header
	// and the context of its package.
	MaxValueSize = 64<<20 + 64<<10
)

// DefaultScanLimit is the page size of Scan if its limit is not positive.
const DefaultScanLimit = 1000

// NoLimit makes Read return values of every size.
const NoLimit = math.MaxInt

// Sized is an answer of Read.
type ReadResult struct {
	Value  []byte // nil if the key is missing or the value exceeds the limit, and only then
	Prefix []byte // the first bytes, up to the limit, of a value that exceeds it
	Size   int    // of the value in bytes
}

// Exists reports whether there is a value, read or not.
func (s *ReadResult) Exists() bool { return s.Value != nil || s.Size > 0 }

// Op is what a Write does.
type Op uint8

// The operations.
const (
	Put    Op = iota // write Value
	Remove           // delete the key
	Expire           // set the time to live, and keep the value
)

// Condition is what must hold for a Write to take effect.
type Condition uint8

// The conditions.
const (
	Always Condition = iota
	Absent           // the key is missing; for Put only
	Equals           // the value of the key equals Old
)

// Write is one change of one key.
type Write struct {
	Key     string
	Op      Op
	If      Condition
	Old     []byte        // of Equals; nil is the empty value
	Value   []byte        // of Put
	TTL     time.Duration // of Put and Expire: 0 keeps the entry until it is deleted
	KeepTTL bool          // of Put: keep the time that the key has left, in place of TTL
}

// Check returns ErrTooLarge, ErrInvalidTTL or ErrInvalidWrite for a write that no driver accepts.
func (w *Write) check() error {
	switch {
	case len(w.Key) > MaxKeySize:
		return fmt.Errorf("kv: key of %d bytes, limit %d: %w", len(w.Key), MaxKeySize, ErrTooLarge)
	case len(w.Value) > MaxValueSize:
		return fmt.Errorf("kv: value of %d bytes, limit %d: %w", len(w.Value), MaxValueSize, ErrTooLarge)
	case w.TTL < 0:
		return fmt.Errorf("kv: time to live of %s: %w", w.TTL, ErrInvalidTTL)
	case w.Op == Put && w.If <= Equals && (!w.KeepTTL || w.If == Equals):
		return nil
	case w.Op == Remove && (w.If == Always || w.If == Equals), w.Op == Expire && w.If == Equals:
		return nil
	}
	return fmt.Errorf("kv: operation %d under condition %d: %w", w.Op, w.If, ErrInvalidWrite)
}

// CheckWrites checks all writes of a batch. Drivers call it before they write anything.
func CheckWrites(writes []Write) error {
	for i := range writes {
		if err := writes[i].check(); err != nil {
			if len(writes) == 1 {
				return err
			}
			return fmt.Errorf("kv: entry %d: %w", i, err)
		}
	}
	return nil
}

// Store is a driver: a key-value store whose entries may expire. It is safe for concurrent use.
//
// Keys are strings of any bytes up to MaxKeySize, the empty one included. Values are any bytes up to
// MaxValueSize, none included. A store keeps no reference to a value after the call that wrote it. The caller may keep
// a value that was read, but must not change it: the driver's client may share it.
//
// A missing or expired key is an answer and not an error. A TTL is rounded up to the millisecond. Every method
// can fail with ErrUnavailable, with ErrClosed after Close, or with the context's error. After a failed write the
// entry may have been written or not.
type Store interface {
	// Read returns one answer for each key, in the order of keys. A value that is longer than limit bytes is not read
	// whole; see NoLimit. The answers are not of one point in time.
	Read(ctx context.Context, keys []string, limit int) ([]ReadResult, error)

	// TTL returns the time that key has left, 0 if it has no limit. It reports false if the key is missing.
	TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error)

	// Write makes the writes in order and reports for each whether it was done: a Put, and an Expire, if its
	// condition held; a Remove, if there was a key that it removed. Each write is one step with the check of its
	// condition. A write that breaks a limit fails the batch before anything is written; otherwise the batch is not
	// atomic, and a BatchError has the error of each write. A driver must not silently repeat a write that is not a
	// Put under Always: if its reply is lost, the write fails with ErrLostReply.
	Write(ctx context.Context, writes []Write) (done []bool, err error)

	// Scan lists keys that begin with prefix, about limit keys at a time (DefaultScanLimit if limit is not
	// positive). It begins with the empty cursor, continues with next, and ends if next is empty. A key
	// that exists from the first page to the last is listed at least once. A page may repeat keys or be empty. The
	// cursor holds any bytes and means nothing to another store. Scan returns ErrCursor if it cannot continue.
	Scan(ctx context.Context, prefix, cursor string, limit int) (keys []string, next string, err error)

	// Ping asks whether the store can be reached now.
	Ping(ctx context.Context) error

	// Close releases what the store owns. Calling it again does nothing.
	Close() error
}

// Sizer is an optional capability of a Store that does not count bytes by owner. The store of Redis implements it.
type SizedWriter interface {
	// WriteSized is Write, and returns the size of the value that each write found, 0 if the key was missing. It takes no
	// other round trip, so that the size is not of one step with the write.
	WriteSized(ctx context.Context, writes []Write) (done []bool, former []int, err error)
}
