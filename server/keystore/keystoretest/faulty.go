package keystoretest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
)

// Fault is a fault that a FaultyStore injects into a call of Swap.
type Fault uint8

// The faults.
const (
	NoFault    Fault = iota
	FailBefore       // the call fails, and nothing is written
	LoseReply        // the write is applied, and the call fails
	Delay            // the write is applied after Pause, or when the caller's context ends
	Duplicate        // the write is applied twice
	Reorder          // the call fails, and its write is applied after the next call that is not reordered
)

// Faults lists all faults except NoFault.
var Faults = []Fault{FailBefore, LoseReply, Delay, Duplicate, Reorder}

// String describes the fault.
func (f Fault) String() string {
	return [...]string{"works", "fails before", "loses the reply", "delays", "duplicates", "reorders"}[f]
}

// Write describes a call of Swap.
type Write struct {
	N        int // number of the call, from 1
	Kind     keystore.Kind
	Name     string
	Document []byte
}

// FaultyStore wraps a store and injects faults into its writes. Reads are not affected.
type FaultyStore struct {
	keystore.Store
	Pause time.Duration // how long Delay waits

	faultOf func(Write) Fault
	mu      sync.Mutex
	n       int
	late    []func()
}

// NewFaultyStore wraps a store. faultOf returns the fault of each call of Swap; it is called by one goroutine at a
// time.
func NewFaultyStore(store keystore.Store, faultOf func(Write) Fault) *FaultyStore {
	return &FaultyStore{Store: store, Pause: 50 * time.Millisecond, faultOf: faultOf}
}

// FaultAt returns a function for NewFaultyStore that injects a fault into the nth write only.
func FaultAt(n int, fault Fault) func(Write) Fault {
	return func(w Write) Fault {
		if w.N == n {
			return fault
		}
		return NoFault
	}
}

// Writes returns the number of calls of Swap.
func (f *FaultyStore) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// ApplyLateWrites applies the reordered writes that have not been applied yet.
func (f *FaultyStore) ApplyLateWrites() {
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	for _, apply := range late {
		apply()
	}
}

var errFault = fmt.Errorf("keystoretest: an injected fault: %w", keystore.ErrUnavailable)

// Swap implements keystore.Store, with faults.
func (f *FaultyStore) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	f.mu.Lock()
	f.n++
	fault := f.faultOf(Write{f.n, kind, name, document})
	f.mu.Unlock()
	apply := func(ctx context.Context) (bool, error) { return f.Store.Swap(ctx, kind, name, old, document, due) }
	switch fault {
	case FailBefore:
		return false, errFault
	case LoseReply:
		_, _ = apply(context.WithoutCancel(ctx))
		return false, errFault
	case Delay:
		timer := time.NewTimer(f.Pause)
		defer timer.Stop()
		select {
		case <-timer.C:
			return apply(ctx)
		case <-ctx.Done():
			_, _ = apply(context.WithoutCancel(ctx))
			return false, ctx.Err()
		}
	case Reorder:
		f.mu.Lock()
		f.late = append(f.late, func() { _, _ = apply(context.WithoutCancel(ctx)) })
		f.mu.Unlock()
		return false, errFault
	case Duplicate:
		_, _ = apply(ctx)
	}
	swapped, err := apply(ctx)
	f.ApplyLateWrites()
	return swapped, err
}
