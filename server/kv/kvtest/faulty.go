package kvtest

import (
	"context"
	"sync"

	"github.com/coffer-storage/coffer/server/kv"
)

// Fault is a failure of one write on its way to a store or back.
type Fault uint8

// The faults.
const (
	None        Fault = iota
	Fail              // the store refuses the write; the error is kv.ErrUnavailable
	LoseRequest       // the write is not made; the error is kv.ErrLostReply
	LoseReply         // the write is made; the error is kv.ErrLostReply
	Delay             // the write is made later, before the next call of Write or Flush; the error is kv.ErrLostReply
	Duplicate         // the write is made twice, and the first result is returned
	Reorder           // the writes of the batch are made in reverse order
)

// Faults lists all faults by name, for tests that try each of them.
var Faults = map[string]Fault{
	"none": None, "refused": Fail, "request lost": LoseRequest, "reply lost": LoseReply, "delayed": Delay, "duplicated": Duplicate, "reordered": Reorder,
}

// FaultFunc chooses the fault of a write. call is the number of the call of Faulty.Write, from 1.
type FaultFunc func(call int, w *kv.Write) Fault

// Once returns a FaultFunc that gives one fault to the first write that is not an unconditional Put.
func Once(fault Fault) FaultFunc {
	done := false
	return func(_ int, w *kv.Write) Fault {
		if done || w.Op == kv.Put && w.If == kv.Always {
			return None
		}
		done = true
		return fault
	}
}

// Faulty is a store whose writes fail as a FaultFunc decides. Its reads do not fail. It is safe for concurrent use. It
// is a kv.Sweeper if its inner store is one. Close closes the inner store.
type Faulty struct {
	kv.Store
	kv.Sweeper

	mu          sync.Mutex
	chooseFault FaultFunc
	calls       int
	delayed     []kv.Write
}

var _ kv.Store = (*Faulty)(nil)

// NewFaulty returns a store over an inner one. If choose is nil, no write fails.
func NewFaulty(inner kv.Store, choose FaultFunc) *Faulty {
	f := &Faulty{Store: inner, chooseFault: choose}
	f.Sweeper, _ = inner.(kv.Sweeper)
	return f
}

// SetFaults replaces the FaultFunc. nil means no faults.
func (f *Faulty) SetFaults(choose FaultFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chooseFault = choose
}

// Flush makes the delayed writes now.
func (f *Faulty) Flush(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flush(ctx)
}

func (f *Faulty) flush(ctx context.Context) {
	for _, w := range f.delayed {
		_, _ = f.Store.Write(ctx, []kv.Write{w}) // the caller already received an error
	}
	f.delayed = nil
}

// Write implements kv.Store.
func (f *Faulty) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flush(ctx)
	if err := kv.CheckWrites(writes); err != nil {
		return nil, err
	}
	f.calls++
	faults, any, reverse := make([]Fault, len(writes)), false, false
	for i := range writes {
		if f.chooseFault != nil {
			faults[i] = f.chooseFault(f.calls, &writes[i])
		}
		any = any || faults[i] != None
		reverse = reverse || faults[i] == Reorder
	}
	if !any {
		return f.Store.Write(ctx, writes)
	}
	done, errs, failed := make([]bool, len(writes)), make(kv.BatchError, len(writes)), false
	for n := range writes {
		i := n
		if reverse {
			i = len(writes) - 1 - n
		}
		done[i], errs[i] = f.writeOne(ctx, writes[i], faults[i])
		failed = failed || errs[i] != nil
	}
	switch {
	case !failed:
		return done, nil
	case len(writes) == 1:
		return done, errs[0]
	}
	return done, errs
}

func (f *Faulty) writeOne(ctx context.Context, w kv.Write, fault Fault) (bool, error) {
	switch fault {
	case Fail:
		return false, kv.ErrUnavailable
	case LoseRequest:
		return false, kv.ErrLostReply
	case Delay:
		w.Old, w.Value = append([]byte{}, w.Old...), append([]byte{}, w.Value...) // the caller may reuse them
		f.delayed = append(f.delayed, w)
		return false, kv.ErrLostReply
	}
	done, err := f.Store.Write(ctx, []kv.Write{w})
	if err != nil {
		return false, err
	}
	switch fault {
	case LoseReply:
		return false, kv.ErrLostReply
	case Duplicate:
		_, err = f.Store.Write(ctx, []kv.Write{w})
	}
	return done[0], err
}
