package rotation

import (
	"encoding/hex"
	"slices"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// State is how far a rotation has come.
type State string

// The states, in their order. Rotating and RollingBack announce a change of keysets, which the next process
// completes if this one is killed.
const (
	Idle         State = ""             // there was no rotation; the record only counts uses
	Rotating     State = "rotating"     // new primaries are being made
	Reencrypting State = "reencrypting" // a sweep brings the cache under the new primaries
	Grace        State = "grace"        // the cache is under the new primaries; the former keys still open
	Retiring     State = "retiring"     // two complete sweeps must find nothing under the former keys
	Done         State = "done"
	RollingBack  State = "rolling-back" // the former keys are being made the primaries again
	RolledBack   State = "rolled-back"
)

// States are all states of a rotation, in their order.
var States = []State{Rotating, Reencrypting, Grace, Retiring, Done, RollingBack, RolledBack}

// OrderedBy reports whether a request ordered the rotation or its rollback, or a part of it. The servers complete what
// the record says, so such a request has not failed.
func (r *Record) OrderedBy(requestID string) bool {
	return r.By.RequestID == requestID || slices.ContainsFunc(r.Keysets, func(k Keyset) bool { return k.By.RequestID == requestID })
}

// By is who ordered a change of keys, and why. It is zero if the configuration did, or a command.
type By struct {
	Issuer    string       `json:"issuer,omitempty"`
	Subject   string       `json:"subject,omitempty"`
	RequestID string       `json:"requestId,omitempty"`
	Reason    audit.Reason `json:"reason,omitempty"`
}

// Keyset is a use and class that the rotation gave a new primary.
type Keyset struct {
	Use         format.Use     `json:"use"`
	Class       classify.Class `json:"class"`
	From        ID             `json:"from"`  // the primary before the rotation, to which a rollback returns
	Epoch       uint32         `json:"epoch"` // of the keyset before the new primary was made, or after if Made
	Compromised bool           `json:"compromised,omitempty"`
	Made        bool           `json:"made,omitempty"`
	After       uint64         `json:"after,omitempty"` // a sweep with a greater number started when the new primary was there
	By          By             `json:"by,omitzero"`
}

// Key is a key of the cache.
type Key struct {
	Class classify.Class `json:"class"`
	ID    ID             `json:"id"`
}

// Former is a former key of the cache that is to be destroyed.
type Former struct {
	Key
	Compromised bool   `json:"compromised,omitempty"`
	NotBefore   int64  `json:"notBefore"`         // sweeps that started earlier do not count
	After       uint64 `json:"after,omitempty"`   // neither do sweeps up to this one
	FoundIn     uint64 `json:"foundIn,omitempty"` // the last sweep that counts and found an entry under the key
	By          By     `json:"by,omitzero"`
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
type Failed struct {
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

// Record is a tenant's current or last rotation. Times are milliseconds since 1970, 0 for none.
type Record struct {
	Tenant      string   `json:"tenant"`
	Environment string   `json:"environment"`
	ID          string   `json:"id"` // of the rotation, random
	State       State    `json:"state"`
	By          By       `json:"by,omitzero"` // who ordered the rotation, or its rollback
	Keysets     []Keyset `json:"keysets"`
	Former      []Former `json:"former"`

	Begun   int64 `json:"begun"`
	Rotated int64 `json:"rotated"` // when the last new primaries were made
	Until   int64 `json:"until"`   // the rotation is not done before
	Next    int64 `json:"next"`    // when there is something to do
	Ended   int64 `json:"ended"`

	Counts       Counts   `json:"counts"`
	UnreadableIn uint64   `json:"unreadableIn,omitempty"` // the last sweep with an entry that did not open
	Failures     []Failed `json:"failures,omitempty"`     // of that sweep

	Sealed map[ID]uint64 `json:"sealed,omitempty"` // packages that primaries have sealed
}

// Active reports whether there is something left to do.
func (r *Record) Active() bool { return r.State != Idle && r.State != Done && r.State != RolledBack }

// Announced reports whether the record announces a change of keysets.
func (r *Record) Announced() bool { return r.State == Rotating || r.State == RollingBack }

// Fresh reports whether entries are not under the new primaries yet.
func (r *Record) Fresh() bool { return r.State == Rotating || r.State == Reencrypting }

// Compromised reports whether a former key that is not destroyed yet is compromised.
func (r *Record) Compromised() bool {
	return slices.ContainsFunc(r.Former, func(f Former) bool { return f.Compromised }) ||
		r.Active() && slices.ContainsFunc(r.Keysets, func(k Keyset) bool { return k.Compromised })
}

// Retires reports whether the rotation is to destroy a key of the cache.
func (r *Record) Retires(key Key) bool { return r.former(key) != nil }

func (r *Record) former(key Key) *Former {
	for i := range r.Former {
		if r.Former[i].Key == key {
			return &r.Former[i]
		}
	}
	return nil
}

// Reversible reports whether a rollback can return to the keyset's former primary, while that is enabled.
func (r *Record) Reversible(k *Keyset) bool { return r.Active() && !k.Compromised }

// maxFailures bounds the record: further kinds of failures are only counted.
const maxFailures = 100

// addFailure counts entries that do not open.
func (r *Record) addFailure(f Failed) {
	for i := range r.Failures {
		if one := &r.Failures[i]; one.Key == f.Key && one.Code == f.Code {
			one.Entries += f.Entries
			return
		}
	}
	if len(r.Failures) < maxFailures {
		r.Failures = append(r.Failures, f)
	}
}

// addSealed counts packages that a key has sealed.
func (r *Record) addSealed(id ID, n uint64) {
	if r.Sealed == nil {
		r.Sealed = map[ID]uint64{}
	}
	r.Sealed[id] += n
}
