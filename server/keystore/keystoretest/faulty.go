package keystoretest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
)

// Fault is what goes wrong with a Swap.
type Fault uint8

// The faults.
const (
	NoFault    Fault = iota
	FailBefore       // the call fails, and nothing is written
	LoseReply        // the write is applied, and the call fails
	Delay            // the write is applied after a while, or after the caller's context ended
	Duplicate        // the write is applied twice
	Reorder          // the call fails, and its write is applied after the next call that is not reordered
)

// Faults lists all faults.
var Faults = []Fault{FailBefore, LoseReply, Delay, Duplicate, Reorder}

func (f Fault) String() string {
	return [...]string{"works", "fails before", "loses the reply", "delays", "duplicates", "reorders"}[f]
}

// Write is a call of Swap.
type Write struct {
	N        int // of the store's calls, from 1
	Kind     keystore.Kind
	Name     string
	Document []byte
}

// FaultyStore is a store whose writes go wrong as planned. Reads go through.
type FaultyStore struct {
	keystore.Store
	Pause time.Duration // of Delay

	plan func(Write) Fault
	mu   sync.Mutex
	n    int
	late []func()
}

// Faulty wraps a store. The plan decides each call of Swap; it is called by one goroutine at a time.
func NewFaultyStore(store keystore.Store, plan func(Write) Fault) *FaultyStore {
	return &FaultyStore{Store: store, Pause: 50 * time.Millisecond, plan: plan}
}

// At is a plan in which the nth write has a fault and all others work.
func FaultAt(n int, fault Fault) func(Write) Fault {
	return func(w Write) Fault {
		if w.N == n {
			return fault
		}
		return NoFault
	}
}

// Writes returns how many calls of Swap there were.
func (f *FaultyStore) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// Settle applies the writes that were reordered and have not been applied yet.
func (f *FaultyStore) ApplyLateWrites() {
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	for _, apply := range late {
		apply()
	}
}

var errFault = fmt.Errorf("keystoretest: a planned fault: %w", keystore.ErrUnavailable)

// Swap implements keystore.Store.
func (f *FaultyStore) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	f.mu.Lock()
	f.n++
	fault := f.plan(Write{f.n, kind, name, document})
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
