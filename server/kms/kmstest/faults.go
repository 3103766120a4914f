package kmstest

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// Fault is what a peer does instead of answering.
type Fault int

// The faults.
const (
	None      Fault = iota
	Denied          // as for revoked credentials
	Throttled       // too many calls
	Failing         // an error of the KMS's own
	Down            // the connection breaks
	Slow            // no answer until the caller gives up
)

// Always is a number of calls without end.
const Always = -1

// Peer is a KMS that a test rules. It speaks the wire protocol of a real one, on loopback.
type Peer interface {
	// Fail has the next calls end in a fault.
	Fail(f Fault, calls int)
	// Calls is how many calls came, those that failed included.
	Calls() int
	// Recreate deletes the key and makes another one of the same name.
	Recreate()
	// Disable disables the key.
	Disable()
}

// Faults is the part of a peer that is the same for all. The zero Faults answers.
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

// Next counts a call and gives the fault that it is to end in.
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

// Over has calls of HTTP end in the faults that do not depend on the protocol, and gives the others.
func (f *Faults) Over(r *http.Request) Fault {
	fault := f.Next()
	switch fault {
	case Down:
		panic(http.ErrAbortHandler)
	case Slow:
		_, _ = io.Copy(io.Discard, r.Body) // else net/http does not see that the caller is gone
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		panic(http.ErrAbortHandler)
	}
	return fault
}
