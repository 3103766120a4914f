package rotation

import (
	"context"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// SetPollInterval sets how often Serve checks for pending work.
func (r *Rotator) SetPollInterval(every time.Duration) { r.pollInterval = every }

// SetLease sets the duration of leases.
func (r *Rotator) SetLease(lease time.Duration) { r.leaseTime = lease }

// SetRetryWait sets the pause before a failed call of the store is repeated.
func (r *Rotator) SetRetryWait(wait time.Duration) { r.firstRetryWait = wait }

// SetIntervals sets the delay of the scan and the pause between checks for restored keys.
func (u *UnknownKeyScanner) SetIntervals(every time.Duration) { u.delay, u.interval = every, every }

// Announce announces the process, as Serve does every few seconds.
var Announce = (*Rotator).announceServer

// Repair corrects due times and restores lost records, as Serve does every few hours.
var Repair = (*Rotator).repairRecords

// Withdraw removes the announcement of the process.
func (r *Rotator) Withdraw(ctx context.Context) error { return r.withdrawServer(ctx) }

// UnsharedReason returns why the process may not rely on the content of its cache.
func (r *Rotator) UnsharedReason(ctx context.Context) string { return r.unsharedReason(ctx) }

// MinPrimaryAge is the minimum age of a primary that is replaced because of its uses.
var MinPrimaryAge = minPrimaryAge

// SelectKeysets returns the keysets that an order rotates.
func SelectKeysets(record *Record, d *envelope.Document, order Order) ([]Keyset, error) {
	return selectKeysets(record, d, order, 0)
}

// Due returns an order for classes that are due.
func Due(classes ...classify.Class) Order {
	return Order{isDue: func(_ *Record, s *envelope.Keyset) bool { return slices.Contains(classes, s.Class) }}
}
