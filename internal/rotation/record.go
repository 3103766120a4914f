package rotation

import (
	"encoding/hex"
	"slices"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// State is how far a rotation has come. It is derived from the record, the sweep and the time whenever a record is read.
type State string

// The states, in their order.
const (
	Idle         State = ""             // there was no rotation; the record only counts uses
	Rotating     State = "rotating"     // new primaries are being made, or the process that wanted to make them was killed
	Reencrypting State = "reencrypting" // a sweep brings the cache under the new primaries
	Grace        State = "grace"        // the cache is under the new primaries; the former keys still open
	Retiring     State = "retiring"     // two complete sweeps must find nothing under the former keys
	Done         State = "done"
	RolledBack   State = "rolled-back" // the former keys are the primaries again
)

// States are all states of a rotation, in their order.
var States = []State{Rotating, Reencrypting, Grace, Retiring, Done, RolledBack}

// By is who ordered a change of keys, and why. It is zero if the configuration did, or a command.
type Requester struct {
	Issuer    string       `json:"issuer,omitempty"`
	Subject   string       `json:"subject,omitempty"`
	RequestID string       `json:"requestId,omitempty"`
	Reason    audit.Reason `json:"reason,omitempty"`
}

// Keyset is a use and class that the rotation gave a new primary.
type Keyset struct {
	Use           format.Use     `json:"use"`
	Class         classify.Class `json:"class"`
	FormerPrimary ID             `json:"from"`  // the primary before the rotation, to which a rollback returns
	Epoch         uint32         `json:"epoch"` // of the keyset since the new primary was made
	Compromised   bool           `json:"compromised,omitempty"`
	AfterSweep    uint64         `json:"after,omitempty"` // a sweep with a greater number started when the new primary was there
	Requester     Requester      `json:"by,omitzero"`
}

// Key is a key of the cache.
type Key struct {
	Class classify.Class `json:"class"`
	ID    ID             `json:"id"`
}

// Former is a key of the cache that a server saw as neither the primary nor destroyed. It is to be destroyed. The times are counted
// from when it was first seen so, not from when a key was made: another clock made it.
type FormerKey struct {
	Key
	Compromised bool      `json:"compromised,omitempty"`
	Epoch       uint32    `json:"epoch"`             // of its keyset, when it was last seen
	UnusedFrom  int64     `json:"silent"`            // no process seals under it from then on
	KeepUntil   int64     `json:"until"`             // it is kept at least until then, if it is not compromised
	AfterSweep  uint64    `json:"after,omitempty"`   // sweeps up to this one do not count
	LastFoundIn uint64    `json:"foundIn,omitempty"` // the last sweep that found an entry under it when it was silent
	Requester   Requester `json:"by,omitzero"`
}

// notBefore is when the first sweep that counts starts at the earliest.
func (f *FormerKey) notBefore() int64 {
	if f.Compromised {
		return f.UnusedFrom
	}
	return f.KeepUntil
}

// counts reports whether a sweep says something about the key: it started when no process could seal under it anymore.
func (f *FormerKey) counts(number uint64, started int64) bool {
	return number > f.AfterSweep && started >= f.notBefore()
}

// notes reports whether a sweep has to note an entry that it found under the key: it counts if the key turns out to be compromised.
func (f *FormerKey) notes(number uint64, started int64) bool {
	return number > f.AfterSweep && started >= f.UnusedFrom
}

// ID is a key id, written as hex.
type ID format.KeyID

// String returns the hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(id) {
		return format.ErrMalformed
	}
	copy(id[:], b)
	return nil
}

// Failed counts entries of one class, key and error that do not open. They stay as they are.
type Failure struct {
	Key
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// Counts counts entries. After a kill those of the last seconds are missing, or counted twice.
type Counts struct {
	Scanned     int `json:"scanned,omitempty"`
	Reencrypted int `json:"reencrypted,omitempty"`
	Changed     int `json:"changed,omitempty"` // written by others in the meantime
	Failed      int `json:"failed,omitempty"`  // do not open
	Foreign     int `json:"foreign,omitempty"` // not packages of the cache
}

// add counts an entry that was visited.
func (c *Counts) add(did cache.Resealed, err error) {
	c.Scanned++
	switch {
	case err != nil:
		c.Failed++
	case did == cache.Anew:
		c.Reencrypted++
	case did == cache.Changed:
		c.Changed++
	case did == cache.Foreign:
		c.Foreign++
	}
}

func (c *Counts) plus(n Counts) {
	c.Scanned += n.Scanned
	c.Reencrypted += n.Reencrypted
	c.Changed += n.Changed
	c.Failed += n.Failed
	c.Foreign += n.Foreign
}

// Record is what a tenant's keysets do not say about its current or last rotation. Times are milliseconds since 1970, 0 for none.
type Record struct {
	Tenant    string    `json:"tenant"`
	State     State     `json:"-"`
	ID        string    `json:"id,omitempty"` // of the rotation, random
	Requester Requester `json:"by,omitzero"`  // the caller of the last order, or of the rollback

	Keysets []Keyset      `json:"keysets,omitempty"`
	Pending *PendingOrder `json:"pending,omitempty"`
	Former  []FormerKey   `json:"former,omitempty"`

	Begun      int64 `json:"begun,omitempty"`
	Rotated    int64 `json:"rotated,omitempty"` // when the last new primaries were seen first
	GraceUntil int64 `json:"until,omitempty"`   // the rotation is not done before
	NextCheck  int64 `json:"next,omitempty"`    // when there is something to do
	Ended      int64 `json:"ended,omitempty"`   // when it was done, or rolled back
	RolledBack bool  `json:"back,omitempty"`    // it was rolled back

	Counts       Counts    `json:"counts,omitzero"`
	UnreadableIn uint64    `json:"unreadableIn,omitempty"` // the last sweep with an entry that did not open
	Failures     []Failure `json:"failures,omitempty"`     // of that sweep

	Sealed map[ID]uint64 `json:"sealed,omitempty"` // packages that primaries have sealed
}

// Pending is an order whose new primaries may be there or not: it is written before they are made.
type PendingOrder struct {
	ID      string   `json:"id"` // of the rotation that it begins, or joins
	At      int64    `json:"at"`
	Keysets []Keyset `json:"keysets"`
}

// Active reports whether there is something left to do.
func (r *Record) Active() bool { return r.State != Idle && r.State != Done && r.State != RolledBack }

// Fresh reports whether entries are not under the new primaries yet.
func (r *Record) NeedsReencryption() bool { return r.State == Rotating || r.State == Reencrypting }

// Compromised reports whether a former key that is not destroyed yet is compromised.
func (r *Record) Compromised() bool {
	return slices.ContainsFunc(r.Former, func(f FormerKey) bool { return f.Compromised }) ||
		r.Active() && slices.ContainsFunc(r.Keysets, func(k Keyset) bool { return k.Compromised })
}

func (r *Record) former(key Key) *FormerKey {
	for i := range r.Former {
		if r.Former[i].Key == key {
			return &r.Former[i]
		}
	}
	return nil
}

func (r *Record) keyset(use format.Use, class classify.Class) *Keyset {
	for i := range r.Keysets {
		if k := &r.Keysets[i]; k.Use == use && k.Class == class {
			return k
		}
	}
	return nil
}

// Reversible reports whether a rollback can return to the keyset's former primary, while that is enabled.
func (r *Record) CanRollBack(k *Keyset) bool { return r.Active() && r.Ended == 0 && !k.Compromised }

// ways returns the keysets that a rollback changes: those that still have the primary that the rotation made, and
// whose former primary is enabled.
func (r *Record) ways(d *envelope.Document) (all []Keyset) {
	for i := range r.Keysets {
		k := &r.Keysets[i]
		if s := d.Keyset(k.Use, k.Class); r.CanRollBack(k) && s != nil && s.Epoch() == k.Epoch && enabled(s, k.FormerPrimary) {
			all = append(all, *k)
		}
	}
	return all
}

func enabled(s *envelope.Keyset, id ID) bool {
	key := s.Key(format.KeyID(id))
	return key != nil && key.State == envelope.Enabled
}

// take adds what a sweep counted, and the entries that did not open. Kinds of failures beyond maxFailures are only counted.
func (r *Record) take(n *note, sweep uint64) {
	if len(n.failures) > 0 && r.UnreadableIn < sweep {
		r.UnreadableIn, r.Failures, r.Counts.Failed = sweep, nil, 0
	}
	r.Counts.plus(n.counts)
	for f, entries := range n.failures {
		i := slices.IndexFunc(r.Failures, func(one Failure) bool { return one.Key == f.Key && one.Code == f.Code })
		if i < 0 && len(r.Failures) < maxFailures {
			i = len(r.Failures)
			r.Failures = append(r.Failures, f)
		}
		if i >= 0 {
			r.Failures[i].Entries += entries
		}
	}
}

const maxFailures = 100

// addSealed counts packages that a key has sealed.
func (r *Record) addSealed(id ID, n uint64) {
	if r.Sealed == nil {
		r.Sealed = map[ID]uint64{}
	}
	r.Sealed[id] += n
}
