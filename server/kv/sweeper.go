package kv

import "context"

// Topology describes the parts of a store that a sweep scans one by one.
type Topology struct {
	// ID changes whenever earlier cursors and earlier scans of a part become meaningless for the present keys: after a
	// failover, a restart, a restore, or a change of the slot map.
	ID string
	// Parts lists the parts in a stable order. While ID is unchanged and Stable is true, every key is in exactly one
	// part.
	Parts []string
	// Stable is false if keys may be moving between parts, or if the store cannot determine that. A sweep that began or
	// ended while Stable was false may have missed keys.
	Stable bool
	// Reason explains to an operator why Stable is false. It is empty if Stable is true.
	Reason string
}

// Sweeper is an optional interface of a Store. It lists all keys part by part, so that several processes can share the
// work. Packages rediskv and sqlitekv implement it.
type Sweeper interface {
	// Topology returns the present topology of the store.
	Topology(ctx context.Context) (Topology, error)

	// SweepPage returns keys of a part that begin with prefix, about limit at a time (DefaultScanLimit if limit is not
	// positive). Begin with an empty cursor, continue with next, and stop when next is empty. A key that exists during
	// the whole sweep is returned at least once, provided that Topology returned the same ID and Stable before the
	// first page and after the last. A page may repeat keys or be empty. A cursor may be stored and used by another
	// process. SweepPage returns ErrCursor if the part does not exist any longer or if it cannot continue from the
	// cursor: begin again with Topology.
	SweepPage(ctx context.Context, part, prefix, cursor string, limit int) (keys []string, next string, err error)
}
