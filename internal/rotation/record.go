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

// State is the state of a rotation. It is derived from the record, the sweep and the time whenever a record is read.
type State string

// The states, in the order in which a rotation goes through them.
const (
	Idle         State = ""             // there was no rotation; the record only counts uses
	Rotating     State = "rotating"     // new primaries are being made, or the process that announced them was killed
	Reencrypting State = "reencrypting" // a sweep moves the cache to the new primaries
	Grace        State = "grace"        // the cache is under the new primaries; the former keys still open and a rollback is possible
	Retiring     State = "retiring"     // two complete sweeps must find no entry under the former keys
	Done         State = "done"
	RolledBack   State = "rolled-back" // the former keys are the primaries again
)

// States are all states except Idle, in their order.
var States = []State{Rotating, Reencrypting, Grace, Retiring, Done, RolledBack}

// Requester identifies the caller who requested a change of keys, and the reason. It is zero for a rotation that the
// configuration triggered or a command requested.
type Requester struct {
	Issuer    string       `json:"issuer,omitempty"`
	Subject   string       `json:"subject,omitempty"`
	RequestID string       `json:"requestId,omitempty"`
	Reason    audit.Reason `json:"reason,omitempty"`
}

// Keyset is a keyset that the rotation gave a new primary.
type Keyset struct {
	Use           format.Use     `json:"use"`
	Class         classify.Class `json:"class"`
	FormerPrimary ID             `json:"from"`  // the primary before the rotation; a rollback makes it the primary again
	Epoch         uint32         `json:"epoch"` // the keyset's epoch once the new primary was made
	Compromised   bool           `json:"compromised,omitempty"`
	AfterSweep    uint64         `json:"after,omitempty"` // a sweep with a greater number started after the new primary was made
	Requester     Requester      `json:"by,omitzero"`
}

// Key identifies a key of the cache.
type Key struct {
	Class classify.Class `json:"class"`
	ID    ID             `json:"id"`
}

// formerKey is a key of the cache that is neither a primary nor destroyed. Its times are counted from when a server
// first saw it as a former key, not from when the key was made, because another server's clock dated the key.
type formerKey struct {
	Key
	Compromised bool      `json:"compromised,omitempty"`
	Epoch       uint32    `json:"epoch"`             // of its keyset, when it was last seen
	UnusedFrom  int64     `json:"silent"`            // from this time on, no process seals under it
	KeepUntil   int64     `json:"until"`             // it is kept until this time, unless it is compromised
	AfterSweep  uint64    `json:"after,omitempty"`   // sweeps up to this number do not count
	LastFoundIn uint64    `json:"foundIn,omitempty"` // the last sweep that found an entry under it after UnusedFrom
	Requester   Requester `json:"by,omitzero"`
}

// countsFrom returns the earliest start of a sweep that counts for the key.
func (f *formerKey) countsFrom() int64 {
	if f.Compromised {
		return f.UnusedFrom
	}
	return f.KeepUntil
}

// sweepCounts reports whether the result of a sweep counts for the key: the sweep must have started after the key could
// still be needed.
func (f *formerKey) sweepCounts(number uint64, started int64) bool {
	return number > f.AfterSweep && started >= f.countsFrom()
}

// findingCounts reports whether an entry that a sweep finds under the key must be recorded. This is also the case
// during the grace period, because the finding counts if the key is marked compromised later.
func (f *formerKey) findingCounts(number uint64, started int64) bool {
	return number > f.AfterSweep && started >= f.UnusedFrom
}

// ID is a key id. Its text form is hexadecimal.
type ID format.KeyID

// String returns the id in hexadecimal.
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

// Failure counts entries of one class, key and error code that do not open. They are left unchanged.
type Failure struct {
	Key
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// Counts counts entries. After a kill, the entries of the last second may be missing or counted twice.
type Counts struct {
	Scanned     int `json:"scanned,omitempty"`
	Reencrypted int `json:"reencrypted,omitempty"`
	Changed     int `json:"changed,omitempty"` // written by others in the meantime, and left alone
	Failed      int `json:"failed,omitempty"`  // do not open
	Foreign     int `json:"foreign,omitempty"` // not packages of the cache
}

// addEntry counts an entry that was visited.
func (c *Counts) addEntry(outcome cache.Outcome, err error) {
	c.Scanned++
	switch {
	case err != nil:
		c.Failed++
	case outcome == cache.Reencrypted:
		c.Reencrypted++
	case outcome == cache.Overwritten:
		c.Changed++
	case outcome == cache.NotAPackage:
		c.Foreign++
	}
}

func (c *Counts) addCounts(n Counts) {
	c.Scanned += n.Scanned
	c.Reencrypted += n.Reencrypted
	c.Changed += n.Changed
	c.Failed += n.Failed
	c.Foreign += n.Foreign
}

// Record contains the facts about a tenant's current or last rotation that its keysets do not contain. Times are in
// milliseconds since 1970; 0 means not yet or never.
type Record struct {
	Tenant    string    `json:"tenant"`
	State     State     `json:"-"`
	ID        string    `json:"id,omitempty"` // of the rotation, random
	Requester Requester `json:"by,omitzero"`  // of the last order or of the rollback

	Keysets []Keyset      `json:"keysets,omitempty"`
	Pending *pendingOrder `json:"pending,omitempty"`
	Former  []formerKey   `json:"former,omitempty"`

	Begun      int64 `json:"begun,omitempty"`
	Rotated    int64 `json:"rotated,omitempty"` // when the last new primaries were first seen
	GraceUntil int64 `json:"until,omitempty"`   // the rotation does not end before
	NextCheck  int64 `json:"next,omitempty"`    // when to check the rotation again
	Ended      int64 `json:"ended,omitempty"`   // when the rotation was completed or rolled back
	RolledBack bool  `json:"back,omitempty"`

	Counts       Counts    `json:"counts,omitzero"`
	UnreadableIn uint64    `json:"unreadableIn,omitempty"` // the last sweep that found an entry that did not open
	Failures     []Failure `json:"failures,omitempty"`     // of that sweep

	Sealed map[ID]uint64 `json:"sealed,omitempty"` // packages sealed under each primary
}

// pendingOrder is an order whose new primaries may not exist yet: it is written before they are made.
type pendingOrder struct {
	ID      string   `json:"id"` // of the rotation that it begins or joins
	At      int64    `json:"at"`
	Keysets []Keyset `json:"keysets"`
}

// Active reports whether the rotation still has work to do.
func (r *Record) Active() bool { return r.State != Idle && r.State != Done && r.State != RolledBack }

// NeedsReencryption reports whether entries may not be under the new primaries yet.
func (r *Record) NeedsReencryption() bool { return r.State == Rotating || r.State == Reencrypting }

// Compromised reports whether a former key that is not destroyed yet is compromised.
func (r *Record) Compromised() bool {
	return slices.ContainsFunc(r.Former, func(f formerKey) bool { return f.Compromised }) ||
		r.Active() && slices.ContainsFunc(r.Keysets, func(k Keyset) bool { return k.Compromised })
}

func (r *Record) formerKey(key Key) *formerKey {
	for i := range r.Former {
		if r.Former[i].Key == key {
			return &r.Former[i]
		}
	}
	return nil
}

func (r *Record) findKeyset(use format.Use, class classify.Class) *Keyset {
	for i := range r.Keysets {
		if k := &r.Keysets[i]; k.Use == use && k.Class == class {
			return k
		}
	}
	return nil
}

// CanRollBack reports whether a rollback can return to the keyset's former primary, as long as that key is enabled.
func (r *Record) CanRollBack(k *Keyset) bool { return r.Active() && r.Ended == 0 && !k.Compromised }

// rollbackTargets returns the keysets that a rollback changes: their primary is still the one that the rotation made,
// and their former primary is enabled.
func (r *Record) rollbackTargets(d *envelope.Document) (targets []Keyset) {
	for i := range r.Keysets {
		k := &r.Keysets[i]
		if s := d.Keyset(k.Use, k.Class); r.CanRollBack(k) && s != nil && s.Epoch() == k.Epoch && isEnabled(s, k.FormerPrimary) {
			targets = append(targets, *k)
		}
	}
	return targets
}

func isEnabled(s *envelope.Keyset, id ID) bool {
	key := s.Key(format.KeyID(id))
	return key != nil && key.State == envelope.Enabled
}

// addResult adds the counts of a sweep and the entries that did not open. At most maxFailures kinds of failures are
// listed; the others are only counted.
func (r *Record) addResult(n *tenantResult, sweep uint64) {
	if len(n.failures) > 0 && r.UnreadableIn < sweep {
		r.UnreadableIn, r.Failures, r.Counts.Failed = sweep, nil, 0
	}
	r.Counts.addCounts(n.counts)
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

// addSealed adds to the number of packages that a key has sealed.
func (r *Record) addSealed(id ID, n uint64) {
	if r.Sealed == nil {
		r.Sealed = map[ID]uint64{}
	}
	r.Sealed[id] += n
}
