package kmstest

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// Fault is what a peer does instead of answering a call.
type Fault int

// The faults of a peer.
const (
	None      Fault = iota // the peer answers
	Denied                 // the answer to revoked credentials
	Throttled              // the answer to too many calls
	Failing                // an internal error
	Down                   // the connection breaks
	Slow                   // no answer before the caller cancels the call
)

// Always is the number of calls that makes Fail permanent.
const Always = -1

// Peer is a fake KMS that a test controls. It speaks the wire protocol of the real one on loopback.
type Peer interface {
	// Fail makes the next calls end in a fault.
	Fail(f Fault, calls int)
	// Calls returns the number of calls so far, including those that failed.
	Calls() int
	// Recreate deletes the key and creates another one with the same name.
	Recreate()
	// Disable disables the key.
	Disable()
}

// Faults implements the part of a peer that all have in common. The zero Faults has no fault.
type Faults struct {
	mu    sync.Mutex
	fault Fault
	left  int
	calls int
}

// Fail implements Peer.
func (f *Faults) Fail(fault Fault, calls int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.left = fault, calls
}

// Calls implements Peer.
func (f *Faults) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Next counts a call and returns the fault in which it must end.
func (f *Faults) Next() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.left == 0 {
		return None
	}
	if f.left > 0 {
		f.left--
	}
	return f.fault
}

// NextHTTP is Next for a call over HTTP. It ends the call itself for Down and Slow, and returns the other faults.
func (f *Faults) NextHTTP(r *http.Request) Fault {
	fault := f.Next()
	switch fault {
	case Down:
		panic(http.ErrAbortHandler)
	case Slow:
		_, _ = io.Copy(io.Discard, r.Body) // so that net/http notices when the caller closes the connection
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		panic(http.ErrAbortHandler)
	}
	return fault
}
