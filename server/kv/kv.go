// Package kv is the interface between Coffer's encrypted cache and the store beneath it. Package rediskv implements it
// over Redis, and package sqlitekv over an embedded database.
//
// Programs open a store with one of these packages and call the functions of this package, such as [Get], [Set],
// [SetIf] and [CompareAndSwap]. These resolve lost replies: if the reply to a conditional write is lost, they read the
// key back, and write again if the write was not applied. That needs values that are unique to one write, as sealed
// packages with random nonces are. A driver implements [Store], and proves with package kvtest that it does so
// correctly.
//
// The package guarantees that a value is returned byte for byte or not at all, that a time to live is exact to the
// millisecond, that a conditional write that was applied is not reported as refused, and that no error contains a value
// or a password. It does not encrypt: store only sealed packages.
package kv

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Limits that every driver enforces, so that all stores accept the same entries.
const (
	// MaxKeySize is the maximum length of a key in bytes.
	MaxKeySize = 32 << 10
	// MaxValueSize is the maximum length of a value in bytes: a one-piece value of 64 MiB plus 64 KiB for the header
	// and context of its package.
	MaxValueSize = 64<<20 + 64<<10
)

// DefaultScanLimit is the number of keys in a page of Scan if its limit is not positive.
const DefaultScanLimit = 1000

// NoLimit is a limit for Read that no value exceeds.
const NoLimit = math.MaxInt

// ReadResult is the result of Read for one key.
type ReadResult struct {
	Value  []byte // nil if and only if the key is missing or the value exceeds the limit
	Prefix []byte // the first bytes of a value that exceeds the limit, as many as the limit allows
	Size   int    // length of the value in bytes
}

// Exists reports whether the key exists, whether or not its value was read.
func (s *ReadResult) Exists() bool { return s.Value != nil || s.Size > 0 }

// Op is the operation of a Write.
type Op uint8

// The operations.
const (
	Put    Op = iota // write the value
	Remove           // delete the key
	Expire           // change the time to live and keep the value
)

// Condition decides whether a Write takes effect.
type Condition uint8

// The conditions.
const (
	Always Condition = iota
	Absent           // if the key is missing; only for Put
	Equals           // if the value of the key equals Old
)

// Write is one operation on one key.
type Write struct {
	Key     string
	Op      Op
	If      Condition
	Old     []byte        // for Equals; nil equals the empty value
	Value   []byte        // for Put
	TTL     time.Duration // for Put and Expire; 0 means that the entry does not expire
	KeepTTL bool          // for Put under Equals: keep the remaining time of the entry and ignore TTL
}

// check returns ErrTooLarge, ErrInvalidTTL or ErrInvalidWrite for a write that drivers must refuse.
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

// CheckWrites returns ErrTooLarge, ErrInvalidTTL or ErrInvalidWrite if a write of the batch is not valid. Drivers call
// it before they write anything.
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

// Store is the interface of a driver: a key-value store whose entries can expire. Its methods are safe for concurrent
// use.
//
// A key is any string of at most MaxKeySize bytes, the empty string included. A value is any sequence of at most
// MaxValueSize bytes, the empty one included. A store does not keep a reference to a value after the call that wrote
// it. A caller may keep a value that it read, but must not change it, because the driver's client may share it.
//
// A missing or expired key is a result, not an error. A TTL is rounded up to a whole millisecond. Every method can
// return an error that wraps ErrUnavailable, ErrClosed after Close, or the error of its context. After a failed write,
// the entry may or may not have been written.
type Store interface {
	// Read returns one result for each key, in the order of the keys. It returns no more than limit bytes of each
	// value; see NoLimit. The results may stem from different points in time.
	Read(ctx context.Context, keys []string, limit int) ([]ReadResult, error)

	// TTL returns the remaining time of a key, 0 if the entry does not expire. It returns false if the key is missing.
	TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error)

	// Write makes the writes in order. done reports for each whether it took effect: for Put and Expire, whether the
	// condition was met; for Remove, whether a key was removed. Each write is atomic together with its condition. If a
	// write is invalid, Write returns an error and writes nothing. Otherwise the batch is not atomic, and a BatchError
	// has the error of each write.
	//
	// A driver must not repeat a write on its own, except for a Put under Always. If the reply to another write is
	// lost, the write fails with ErrLostReply.
	Write(ctx context.Context, writes []Write) (done []bool, err error)

	// Scan returns keys that begin with prefix, about limit at a time (DefaultScanLimit if limit is not positive).
	// Begin with an empty cursor, continue with next, and stop when next is empty. A key that exists during the whole
	// scan is returned at least once. A page may repeat keys or be empty. A cursor may contain any bytes and is only
	// valid for this store. Scan returns ErrCursor if it cannot continue.
	Scan(ctx context.Context, prefix, cursor string, limit int) (keys []string, next string, err error)

	// Ping checks that the store can be reached now.
	Ping(ctx context.Context) error

	// Close releases the resources of the store. Calling it again does nothing.
	Close() error
}

// SizedWriter is an optional interface of a Store that does not count bytes by owner itself. Package rediskv implements
// it.
type SizedWriter interface {
	// WriteSized is Write. It also returns the size in bytes of the value that each write found, 0 if the key was
	// missing. It needs no additional round trip, so the size is not read atomically with the write.
	WriteSized(ctx context.Context, writes []Write) (done []bool, former []int, err error)
}
