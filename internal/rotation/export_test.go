package rotation

import (
	"context"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// SetLook sets how often Serve looks for something to do.
func (r *Rotator) SetLook(every time.Duration) { r.look = every }

// SetLease sets how long leases last.
func (r *Rotator) SetLease(lease time.Duration) { r.lease = lease }

// SetWait sets the time before a call of the store is tried again.
func (r *Rotator) SetWait(wait time.Duration) { r.wait = wait }

// Hurry sets the delay of the scan, and how often its keys are looked for again.
func (u *UnknownKeyScanner) Hurry(every time.Duration) { u.delay, u.interval = every, every }

// Announce announces the process, as Serve does all the time.
var Announce = (*Rotator).announceServer

// Repair corrects due times and begins lost records again, as Serve does now and then.
var Repair = (*Rotator).repair

// Leave withdraws the announcement.
func (r *Rotator) Leave(ctx context.Context) error { return r.leave(ctx) }

// ApartNow says why the process may not conclude anything from its cache.
func (r *Rotator) ApartNow(ctx context.Context) string { return r.apart(ctx) }

// Rest is the least age of a primary that gets a successor because of its uses.
var Rest = rest

// Plan plans a rotation.
func Plan(record *Record, d *envelope.Document, order Order) ([]Keyset, error) {
	return plan(record, d, order, 0)
}

// Due is the order for classes that are due.
func Due(classes ...classify.Class) Order {
	return Order{due: func(_ *Record, s *envelope.Keyset) bool { return slices.Contains(classes, s.Class) }}
}
