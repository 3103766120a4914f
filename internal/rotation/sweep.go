package rotation

import (
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
)

// Sweep is one visit of all entries of the cache: the running sweep, or the last one. Servers divide its parts among
// themselves and hold a lease of each part that they work on. Times are in milliseconds since 1970.
type Sweep struct {
	Number   uint64        `json:"number"` // 0 before the first sweep
	Started  int64         `json:"started"`
	Ended    int64         `json:"ended,omitempty"` // 0 while the sweep is running
	Topology string        `json:"topology"`        // of the store when the sweep began
	Fault    string        `json:"fault,omitempty"` // why the sweep is incomplete
	FullRate bool          `json:"full,omitempty"`  // ignore the rate limit
	Parts    []sweepPart   `json:"parts,omitempty"`
	States   map[State]int `json:"states,omitempty"` // number of tenants by state of their rotation, when the sweep ended

	Requested         uint64 `json:"wanted"` // a sweep with this number or a later one must begin
	RequestedFullRate bool   `json:"wantedFull,omitempty"`
	NotBefore         int64  `json:"notBefore,omitempty"` // the next sweep does not begin before

	LastComplete uint64          `json:"swept"`          // number of the last complete sweep
	Complete     []completeSweep `json:"last,omitempty"` // the last complete sweeps of one topology, at most two, latest first
}

// completeSweep is the summary of a complete sweep.
type completeSweep struct {
	Number   uint64 `json:"number"`
	Started  int64  `json:"started"`
	Ended    int64  `json:"ended"`
	Topology string `json:"topology"`
	Scanned  int    `json:"scanned"`
}

// sweepPart is one part of the store, such as a Redis node, that is swept by one process at a time.
type sweepPart struct {
	Name      string `json:"name"`
	Cursor    []byte `json:"cursor,omitempty"`
	Holder    string `json:"holder,omitempty"` // id of the process that works on the part
	Heartbeat uint64 `json:"beat,omitempty"`   // changes while the holder is alive
	Done      bool   `json:"done,omitempty"`
	Counts    Counts `json:"counts"`
}

const (
	defaultLeaseTime = 15 * time.Second // a holder that wrote nothing for so long is considered dead
	minSweepPause    = time.Minute      // minimum time between an incomplete sweep and the next one
)

// Running reports whether the sweep has begun and not ended.
func (s *Sweep) Running() bool { return s.Number > 0 && s.Ended == 0 }

// Counts returns the sum of the counts of all parts.
func (s *Sweep) Counts() (n Counts) {
	for i := range s.Parts {
		n.addCounts(s.Parts[i].Counts)
	}
	return n
}

// request makes sure that a sweep with this number or a later one takes place.
func (s *Sweep) request(number uint64, full bool) {
	s.Requested = max(s.Requested, number)
	if full {
		s.RequestedFullRate = true
		s.FullRate = s.FullRate || s.Running()
	}
}

// shouldBegin reports whether the next sweep should begin at the time now.
func (s *Sweep) shouldBegin(now int64) bool {
	return !s.Running() && s.Requested > s.Number && !isAhead(s.NotBefore, now, time.Hour)
}

// begin begins the next sweep. Earlier complete sweeps count only if the topology is still the same. The first number
// is the time in seconds, so that numbers grow even if the document is lost.
func (s *Sweep) begin(t kv.Topology, now int64) {
	number := s.Number + 1
	if s.Number == 0 {
		number = uint64(now / 1000)
	}
	last := slices.DeleteFunc(slices.Clone(s.Complete), func(f completeSweep) bool { return f.Topology != t.ID })
	*s = Sweep{Number: number, Started: now, Topology: t.ID, FullRate: s.RequestedFullRate, Requested: s.Requested, LastComplete: s.LastComplete, Complete: last, States: s.States}
	if !t.Stable {
		s.markIncomplete("keys were moving between parts of the store when the sweep began: " + t.Reason)
	}
	for _, name := range t.Parts {
		s.Parts = append(s.Parts, sweepPart{Name: name})
	}
}

// markIncomplete makes the sweep incomplete. Only the first reason is kept.
func (s *Sweep) markIncomplete(reason string) {
	if s.Fault == "" {
		s.Fault = reason
	}
}

// findPart returns the part with a name, or nil.
func (s *Sweep) findPart(name string) *sweepPart {
	i := slices.IndexFunc(s.Parts, func(p sweepPart) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Parts[i]
}

// claimablePart returns a part that a process can work on: it is not done, and no live process holds it. It returns nil
// if there is none.
func (s *Sweep) claimablePart(holder string, expired func(p *sweepPart) bool) *sweepPart {
	for i := range s.Parts {
		if p := &s.Parts[i]; s.Running() && !p.Done && (p.Holder == "" || p.Holder == holder || expired(p)) {
			return p
		}
	}
	return nil
}

// finish ends the sweep and decides whether it is complete. unshared is the reason why this process cannot rely on its
// cache, or "". An incomplete sweep is followed by another one, after a pause as long as the sweep took, between a
// minute and an hour.
func (s *Sweep) finish(t kv.Topology, unshared string, now int64) {
	switch {
	case t.ID != s.Topology:
		s.markIncomplete("the topology of the store changed: a failover, a restart, or another slot map")
	case !t.Stable:
		s.markIncomplete("keys were moving between parts of the store when the sweep ended: " + t.Reason)
	case unshared != "":
		s.markIncomplete(unshared)
	}
	s.Ended = now
	if s.Fault != "" {
		s.Requested = max(s.Requested, s.Number+1)
		s.NotBefore = now + max(minSweepPause.Milliseconds(), min(now-s.Started, time.Hour.Milliseconds()))
		return
	}
	s.LastComplete = s.Number
	s.Complete = append([]completeSweep{{s.Number, s.Started, now, s.Topology, s.Counts().Scanned}}, s.Complete[:min(1, len(s.Complete))]...)
	if s.Requested <= s.Number {
		s.RequestedFullRate = false
	}
}

// recheckPause returns the time after which a tenant that waits for a sweep is checked again, in milliseconds. It is
// about the duration of the last complete sweep.
func (s *Sweep) recheckPause() int64 {
	if len(s.Complete) == 0 {
		return retryAfter
	}
	return min(max(s.Complete[0].Ended-s.Complete[0].Started, retryAfter), recheckAfter)
}

// partsDone returns the number of parts that are done.
func (s *Sweep) partsDone() (n int) {
	for i := range s.Parts {
		if s.Parts[i].Done {
			n++
		}
	}
	return n
}
