package kv

import (
	"errors"
	"fmt"
	"slices"
)

// codedError is an error with a stable code of package codes, which codes.Of returns.
type codedError struct{ code, text string }

func (e *codedError) Error() string { return e.text }

// Code returns the stable code, which is the same in Go, TypeScript and HTTP.
func (e *codedError) Code() string { return e.code }

// The errors of stores. Drivers wrap them with details, so test for them with errors.Is. Package shared/codes returns the
// stable code of each (codes.Of).
var (
	// ErrUnavailable reports that the store cannot be reached, did not answer in time, refused the login or is read-only.
	// The same call may succeed later.
	ErrUnavailable error = &codedError{"store_unavailable", "store unavailable"}
	// ErrLostReply reports that a request was sent and its reply did not arrive, so a write may or may not have been made.
	// It wraps ErrUnavailable.
	ErrLostReply = fmt.Errorf("%w: no reply", ErrUnavailable)
	// ErrTooLarge reports that a key exceeds MaxKeySize or a value exceeds MaxValueSize.
	ErrTooLarge error = &codedError{"too_large", "too large"}
	// ErrClosed reports that the store was closed.
	ErrClosed error = &codedError{"closed", "store closed"}
	// ErrInvalidTTL reports a negative time to live.
	ErrInvalidTTL error = &codedError{"invalid_argument", "invalid time to live"}
	// ErrCursor reports that a cursor comes from another store, or that the scan cannot continue from it. Begin the scan
	// again with the empty cursor.
	ErrCursor error = &codedError{"invalid_argument", "not a cursor of this store"}
	// ErrInvalidWrite reports a combination of operation and condition that Write does not support.
	ErrInvalidWrite error = &codedError{"invalid_argument", "invalid write"}
	// ErrFull reports that the store's disk or memory is full. Nothing was written. Reads and deletions still work.
	ErrFull error = &codedError{"storage_full", "the store has no space left"}
	// ErrQuota reports that the owner of the key has used up its storage quota. Nothing was written. Reads, deletions and
	// writes that do not lengthen an entry still work.
	ErrQuota error = &codedError{"quota_exceeded", "the tenant's storage quota is used up"}
	// ErrDamaged reports that a checksum of the store does not match, so some entries cannot be read. It wraps
	// ErrUnavailable.
	ErrDamaged = fmt.Errorf("%w: the store is damaged", ErrUnavailable)
	// ErrWrongType reports that the key has a value that Coffer did not write, such as a Redis list.
	ErrWrongType error = &codedError{"malformed", "not a value of this store"}
)

// BatchError has the error of each entry of a batch, in the order of the entries. The error of an entry that succeeded is
// nil. errors.Is and errors.As look at all of them.
type BatchError []error

// Error implements error. It describes the first entry that failed.
func (e BatchError) Error() string {
	for i, err := range e {
		if err != nil {
			return fmt.Sprintf("entry %d of %d: %s", i, len(e), err)
		}
	}
	return "no entry failed"
}

// Unwrap returns the errors of the entries that failed.
func (e BatchError) Unwrap() []error {
	return slices.DeleteFunc(slices.Clone(e), func(err error) bool { return err == nil })
}

// ErrorsOf returns one error for each of the n entries of a batch that returned err: the errors of a BatchError, or else
// err for every entry.
func ErrorsOf(err error, n int) []error {
	var batch BatchError
	if errors.As(err, &batch) && len(batch) == n {
		return batch
	}
	return slices.Repeat([]error{err}, n)
}
