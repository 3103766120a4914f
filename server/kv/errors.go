package kv

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Error is a failure with a stable code. Drivers wrap the sentinels below with what happened, so test
// with errors.Is, and find the code with errors.As.
type Error struct {
	code string
	text string
}

// Error implements error.
func (e *Error) Error() string { return e.text }

// Code gives the stable code, the same in Go, TypeScript and HTTP.
func (e *Error) Code() string { return e.code }

// The sentinels.
var (
	// ErrUnavailable: the store cannot be reached, did not answer in time, refused the login, is read-only
	// or out of room. Trying again later may help.
	ErrUnavailable = &Error{"store_unavailable", "store unavailable"}
	// ErrTooLarge: a key or a value is above its limit.
	ErrTooLarge = &Error{"too_large", "too large"}
	// ErrClosed: the store was closed.
	ErrClosed = &Error{"closed", "store closed"}
	// ErrInvalidTTL: a time to live is negative.
	ErrInvalidTTL = &Error{"invalid_argument", "invalid time to live"}
	// ErrCursor: a cursor is none that this store gave, or the scan cannot go on from there and has to begin again.
	ErrCursor = &Error{"invalid_argument", "not a cursor of this store"}
	// ErrWrongType: the key holds something that was not written by Coffer, such as a Redis list.
	ErrWrongType = &Error{"malformed", "not a value of this store"}
)

// BatchError tells of a batch what became of each of its entries, in their order: nil where it was done.
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

// Unwrap gives the errors of those that failed.
func (e BatchError) Unwrap() []error {
	return slices.DeleteFunc(slices.Clone(e), func(err error) bool { return err == nil })
}

// Each gives what became of each of n entries of a batch that returned err.
func Each(err error, n int) []error {
	var each BatchError
	if errors.As(err, &each) && len(each) == n {
		return each
	}
	return slices.Repeat([]error{err}, n)
}

// CheckWrite holds a write to the limits; drivers call it before they write anything.
func CheckWrite(key string, value []byte, ttl time.Duration) error {
	switch {
	case len(key) > MaxKeySize:
		return fmt.Errorf("kv: key of %d bytes, limit %d: %w", len(key), MaxKeySize, ErrTooLarge)
	case len(value) > MaxValueSize:
		return fmt.Errorf("kv: value of %d bytes, limit %d: %w", len(value), MaxValueSize, ErrTooLarge)
	case ttl < 0:
		return fmt.Errorf("kv: time to live of %s: %w", ttl, ErrInvalidTTL)
	}
	return nil
}

// CheckWrites is CheckWrite for a batch.
func CheckWrites(entries []Entry) error {
	for i := range entries {
		if err := CheckWrite(entries[i].Key, entries[i].Value, entries[i].TTL); err != nil {
			return fmt.Errorf("kv: entry %d: %w", i, err)
		}
	}
	return nil
}

// CheckSwaps is CheckWrite for a batch of swaps.
func CheckSwaps(swaps []Swap) error {
	for i := range swaps {
		if err := CheckWrite(swaps[i].Key, swaps[i].Value, 0); err != nil {
			return fmt.Errorf("kv: swap %d: %w", i, err)
		}
	}
	return nil
}
