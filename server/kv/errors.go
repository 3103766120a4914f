package kv

import (
	"errors"
	"fmt"
	"slices"
)

// Error is a failure with a stable code. Drivers wrap the sentinels below with what happened, so test
// with errors.Is, and find the code with errors.As.
type Error struct {
	code string
	text string
}

// Error implements error.
func (e *Error) Error() string { return e.text }

// Code returns the stable code, the same in Go, TypeScript and HTTP.
func (e *Error) Code() string { return e.code }

// The sentinels.
var (
	// ErrUnavailable: the store cannot be reached, did not answer in time, refused the login or is read-only.
	// Trying again later may help.
	ErrUnavailable = &Error{"store_unavailable", "store unavailable"}
	// ErrLostReply: the store was sent a request and its reply did not arrive, so that a write may have been made
	// or not. It is also ErrUnavailable.
	ErrLostReply = fmt.Errorf("%w: no reply", ErrUnavailable)
	// ErrTooLarge: a key or a value is above its limit.
	ErrTooLarge = &Error{"too_large", "too large"}
	// ErrClosed: the store was closed.
	ErrClosed = &Error{"closed", "store closed"}
	// ErrInvalidTTL: a time to live is negative.
	ErrInvalidTTL = &Error{"invalid_argument", "invalid time to live"}
	// ErrCursor: the cursor is not of this store, or the scan cannot continue from it and has to begin again.
	ErrCursor = &Error{"invalid_argument", "not a cursor of this store"}
	// ErrInvalidWrite: a write combines an operation with a condition that no driver has.
	ErrInvalidWrite = &Error{"invalid_argument", "invalid write"}
	// ErrFull: the disk or the memory of the store is full. Nothing was written. Reads and deletions go on.
	ErrFull = &Error{"storage_full", "the store has no space left"}
	// ErrQuota: the owner of the key has used up its storage quota. Nothing was written. Reads, deletions and writes
	// that do not lengthen an entry go on.
	ErrQuota = &Error{"quota_exceeded", "the tenant's storage quota is used up"}
	// ErrDamaged: the store's own checksums do not match, so that some entries cannot be read. It is also
	// ErrUnavailable.
	ErrDamaged = fmt.Errorf("%w: the store is damaged", ErrUnavailable)
	// ErrWrongType: the key holds something that was not written by Coffer, such as a Redis list.
	ErrWrongType = &Error{"malformed", "not a value of this store"}
)

// BatchError has the error of each entry of a batch, in order: nil if the entry was done.
type BatchError []error

// Error implements error: the first entry's that failed.
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

// Each returns the error of each of n entries of a batch that returned err.
func Each(err error, n int) []error {
	var each BatchError
	if errors.As(err, &each) && len(each) == n {
		return each
	}
	return slices.Repeat([]error{err}, n)
}
