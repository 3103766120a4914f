package rotation

import (
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
)

// Sweep is the one visit of all entries of the store that is under way, or was the last. Servers divide its parts,
// and hold a lease of each part that they work on. Times are milliseconds since 1970.
type Sweep struct {
	Number   uint64        `json:"number"` // 0 before the first sweep
	Started  int64         `json:"started"`
	Ended    int64         `json:"ended,omitempty"` // 0 while it is under way
	Topology string        `json:"topology"`        // of the store at its start
	Fault    string        `json:"fault,omitempty"` // why the sweep is incomplete
	FullRate bool          `json:"full,omitempty"`  // at full rate
	Parts    []Part        `json:"parts,omitempty"`
	States   map[State]int `json:"states,omitempty"` // tenants by the state of their rotation, when it ended

	Requested         uint64 `json:"wanted"` // a sweep with this number, or a later one, has to begin
	RequestedFullRate bool   `json:"wantedFull,omitempty"`
	NotBefore         int64  `json:"notBefore,omitempty"` // the next sweep does not begin before

	LastComplete uint64          `json:"swept"`          // the last complete sweep
	Complete     []CompleteSweep `json:"last,omitempty"` // the last complete sweeps of one topology, at most two, the latest first
}

// Finished is a complete sweep.
type CompleteSweep struct {
	Number   uint64 `json:"number"`
	Started  int64  `json:"started"`
	Ended    int64  `json:"ended"`
	Topology string `json:"topology"`
	Scanned  int    `json:"scanned"`
}

// Part is a part of the store.
type Part struct {
	Name      string `json:"name"`
	Cursor    []byte `json:"cursor,omitempty"`
	Holder    string `json:"holder,omitempty"` // the process that works on it
	Heartbeat uint64 `json:"beat,omitempty"`   // changes while the holder is alive
	Done      bool   `json:"done,omitempty"`
	Counts    Counts `json:"counts"`
}

const (
	leaseTime  = 15 * time.Second // after which a holder that wrote nothing is taken to be dead
	retrySweep = time.Minute      // the least time between an incomplete sweep and the next
)

// Running reports whether the sweep is under way.
func (s *Sweep) Running() bool { return s.Number > 0 && s.Ended == 0 }

// Counts returns the counts of all parts.
func (s *Sweep) Counts() (n Counts) {
	for i := range s.Parts {
		n.plus(s.Parts[i].Counts)
	}
	return n
}

// request asks for a sweep.
func (s *Sweep) request(number uint64, full bool) {
	s.Requested = max(s.Requested, number)
	if full {
		s.RequestedFullRate = true
		s.FullRate = s.FullRate || s.Running()
	}
}

// begins reports whether the next sweep is to begin at a time.
func (s *Sweep) begins(now int64) bool {
	return !s.Running() && s.Requested > s.Number && !awaits(s.NotBefore, now, time.Hour)
}

// begin begins the next sweep. The earlier complete sweeps count only if the topology is still the same. Numbers grow
// even if the document was lost: the first one is the time in seconds.
func (s *Sweep) begin(t kv.Topology, now int64) {
	number := s.Number + 1
	if s.Number == 0 {
		number = uint64(now / 1000)
	}
	last := slices.DeleteFunc(slices.Clone(s.Complete), func(f CompleteSweep) bool { return f.Topology != t.ID })
	*s = Sweep{Number: number, Started: now, Topology: t.ID, FullRate: s.RequestedFullRate, Requested: s.Requested, LastComplete: s.LastComplete, Complete: last, States: s.States}
	if !t.Stable {
		s.fault("keys were moving between parts of the store when it began: " + t.Reason)
	}
	for _, name := range t.Parts {
		s.Parts = append(s.Parts, Part{Name: name})
	}
}

// fault makes the sweep incomplete. The first reason stays.
func (s *Sweep) fault(reason string) {
	if s.Fault == "" {
		s.Fault = reason
	}
}

// part returns a part by its name, or nil.
func (s *Sweep) part(name string) *Part {
	i := slices.IndexFunc(s.Parts, func(p Part) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Parts[i]
}

// claim returns the part that a process is to work on, one without a live holder. It returns nil if all are held or done.
func (s *Sweep) claim(holder string, free func(p *Part) bool) *Part {
	for i := range s.Parts {
		if p := &s.Parts[i]; s.Running() && !p.Done && (p.Holder == "" || p.Holder == holder || free(p)) {
			return p
		}
	}
	return nil
}

// end ends the sweep, and decides whether it is complete. apart is the reason why the process that ends it does not share its store
// with all others; it is empty if it does. An incomplete sweep is followed by another one, after as long a time as it took.
func (s *Sweep) end(t kv.Topology, apart string, now int64) {
	switch {
	case t.ID != s.Topology:
		s.fault("the topology of the store changed: a failover, a restart, or another slot map")
	case !t.Stable:
		s.fault("keys were moving between parts of the store when it ended: " + t.Reason)
	case apart != "":
		s.fault(apart)
	}
	s.Ended = now
	if s.Fault != "" {
		s.Requested = max(s.Requested, s.Number+1)
		s.NotBefore = now + max(retrySweep.Milliseconds(), min(now-s.Started, time.Hour.Milliseconds()))
		return
	}
	s.LastComplete = s.Number
	s.Complete = append([]CompleteSweep{{s.Number, s.Started, now, s.Topology, s.Counts().Scanned}}, s.Complete[:min(1, len(s.Complete))]...)
	if s.Requested <= s.Number {
		s.RequestedFullRate = false
	}
}

// pause is after how long a tenant that waits for sweeps is looked at again, in milliseconds: as long as the last complete one took.
func (s *Sweep) pause() int64 {
	if len(s.Complete) == 0 {
		return retry
	}
	return min(max(s.Complete[0].Ended-s.Complete[0].Started, retry), recheck)
}

// done returns the number of parts that were visited.
func (s *Sweep) done() (n int) {
	for i := range s.Parts {
		if s.Parts[i].Done {
			n++
		}
	}
	return n
}
