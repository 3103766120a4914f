package kv

import "context"

// Topology describes the parts of a store that a sweep visits one by one.
type Topology struct {
	// ID changes whenever an earlier cursor or an earlier visit of a part no longer says anything about the keys
	// that are there now: after a failover, a restart, a restore, or a change of the slot map.
	ID string
	// Parts lists the parts in a stable order. Every key is in exactly one part while ID stays the same and Stable
	// is true.
	Parts []string
	// Stable is false if keys may be moving between parts, or if the store cannot tell. A sweep that began or ended
	// while Stable was false may have missed keys.
	Stable bool
	// Reason explains to an operator why Stable is false.
	Reason string
}

// Sweeper is an optional capability of a Store: it lists all keys part by part, so that several processes can share
// the work. The stores of Redis and the embedded store implement it.
type Sweeper interface {
	// Topology asks the store for its current topology.
	Topology(ctx context.Context) (Topology, error)

	// SweepPage lists keys of a part that begin with prefix, about limit keys at a time (DefaultScanLimit if limit
	// is not positive). A sweep of a part begins with the empty cursor, continues with next, and ends if next is
	// empty. A key that exists from the first page to the last is listed at least once if Topology returned the
	// same ID, stable, before the first page and after the last. A page may repeat keys or be empty. A cursor may
	// be stored and used by another process. SweepPage returns ErrCursor if the part is gone or cannot continue
	// from cursor: begin again with Topology.
	SweepPage(ctx context.Context, part, prefix, cursor string, limit int) (keys []string, next string, err error)
}
