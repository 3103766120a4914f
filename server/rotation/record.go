package rotation

import (
	"encoding/hex"
	"slices"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// State is how far a rotation has come.
type State string

// The states, in their order. Rotating, Disabling, Destroying and RollingBack announce a change of keysets,
// which whoever comes next makes too, so that the change is over before the next one begins.
const (
	Idle         State = ""             // there was none; the record counts uses
	Rotating     State = "rotating"     // new primaries are being made
	Reencrypting State = "reencrypting" // cache entries are being sealed anew
	Grace        State = "grace"        // everything is under the new keys; the former ones still open
	FirstScan    State = "first-scan"   // what was written under the former keys meanwhile is looked for
	Disabling    State = "disabling"    // the former keys of the cache are being disabled
	SecondScan   State = "second-scan"  // it is looked for once more
	Destroying   State = "destroying"   // the former keys of the cache are being destroyed
	Done         State = "done"
	RollingBack  State = "rolling-back" // the former keys are being made the primaries again
	RolledBack   State = "rolled-back"
)

// By is who ordered a change of keys, as the audit event of the order names them. It is zero where nobody did
// but the configuration, or a command.
type By struct {
	Issuer    string `json:"issuer,omitempty"`
	Subject   string `json:"subject,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}

// Keyset is the new primary of a use and class. A use and class that was rotated again before the rotation
// was over is there as often.
type Keyset struct {
	Use         format.Use     `json:"use"`
	Class       classify.Class `json:"class"`
	Epoch       uint32         `json:"epoch"` // of the keyset before
	From        ID             `json:"from"`  // its primary then
	Compromised bool           `json:"compromised,omitempty"`
	Made        bool           `json:"made,omitempty"`  // the new primary is there
	Due         int64          `json:"due,omitempty"`   // as of its former keys
	Final       bool           `json:"final,omitempty"` // there is no way back any more
	By          By             `json:"by,omitzero"`
}

// Key is a former key of the cache.
type Key struct {
	Class classify.Class `json:"class"`
	ID    ID             `json:"id"`
}

// Former is a former key of the cache that is to be retired.
type Former struct {
	Key
	Compromised bool  `json:"compromised,omitempty"`
	Stage       State `json:"stage,omitempty"` // Grace, FirstScan or SecondScan: what it waits for; Idle until all entries were sealed anew
	Due         int64 `json:"due,omitempty"`   // that is not before then
	By          By    `json:"by,omitzero"`     // of the rotation that it is given up by
}

// ID is a key's id, written as hex.
type ID format.KeyID

// String gives the hex.
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

// Failed is entries of one class, key and error that do not open. They stay as they are.
type Failed struct {
	Key
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// Counts is what was done in one go through the entries. One that was broken off by a kill counts again what
// it did in its last second.
type Counts struct {
	Total       int `json:"total"` // entries when it began
	Scanned     int `json:"scanned"`
	Reencrypted int `json:"reencrypted"`
	Changed     int `json:"changed"` // written by others meanwhile
	Failed      int `json:"failed"`  // do not open
	Foreign     int `json:"foreign"` // no packages of the cache
	Former      int `json:"former"`  // of all these, under a former key
}

// add counts an entry that was looked at.
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

// Record is what is known of a tenant's last rotation, and of those before that are not over: their former
// keys are retired when each is due. Times are milliseconds since 1970, 0 for none.
type Record struct {
	Version     int      `json:"version"`
	Tenant      string   `json:"tenant"`
	Environment string   `json:"environment"`
	ID          string   `json:"id"` // of the rotation, random
	State       State    `json:"state"`
	Compromised bool     `json:"compromised"` // one of the former keys is
	By          By       `json:"by,omitzero"` // of the last rotation, or of the rollback
	Keysets     []Keyset `json:"keysets"`
	Former      []Former `json:"former"`

	Begun   int64 `json:"begun"`
	Rotated int64 `json:"rotated"` // when all new primaries were made
	Next    int64 `json:"next"`    // before then there is nothing to do
	Ended   int64 `json:"ended"`

	Cursor   []byte   `json:"cursor,omitempty"` // of the go through the entries that is under way
	Counts   Counts   `json:"counts"`           // of that or of the last one
	Done     int      `json:"done"`             // entries sealed anew by the ones before
	Failures []Failed `json:"failures,omitempty"`
	Found    []Key    `json:"found,omitempty"` // former keys that something was under

	Sealed map[ID]uint64 `json:"sealed,omitempty"` // packages that keys have sealed, of primaries
}

// version is that of records. In those of version 1 all former keys are in the record's own state, and due at once.
const version = 2

// Active reports whether there is something left to do.
func (r *Record) Active() bool { return r.State != Idle && r.State != Done && r.State != RolledBack }

// Fresh reports whether entries are yet to be brought under the new keys.
func (r *Record) Fresh() bool { return r.State == Rotating || r.State == Reencrypting }

// Retires reports whether a key of the cache is one that is given up.
func (r *Record) Retires(key Key) bool {
	return slices.ContainsFunc(r.Former, func(f Former) bool { return f.Key == key })
}

// note tells entries that do not open apart.
func (r *Record) note(key Key, code string) {
	for i := range r.Failures {
		if f := &r.Failures[i]; f.Key == key && f.Code == code {
			f.Entries++
			return
		}
	}
	if len(r.Failures) < maxFailures {
		r.Failures = append(r.Failures, Failed{key, code, 1})
	}
}

// count adds packages that a key has sealed.
func (r *Record) count(id ID, n uint64) {
	if r.Sealed == nil {
		r.Sealed = map[ID]uint64{}
	}
	r.Sealed[id] += n
}

// maxFailures bounds the record: entries beyond it are counted, and not told apart.
const maxFailures = 100
