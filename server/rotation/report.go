package rotation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
)

// Report is what people and programs are told of a tenant's rotation, by the command and over HTTP. It holds
// no name of an entry. Times that are not there yet are left out.
type Report struct {
	Tenant      string       `json:"tenant"`
	ID          string       `json:"id"`
	State       State        `json:"state"`
	Compromised bool         `json:"compromised"`
	Keysets     []RotatedSet `json:"keysets"`
	BegunAt     Time         `json:"begunAt"`
	RotatedAt   *Time        `json:"rotatedAt,omitempty"` // when all new primaries were made
	NextAt      *Time        `json:"nextAt,omitempty"`    // before then there is nothing to do
	EndedAt     *Time        `json:"endedAt,omitempty"`

	Total       int `json:"total"` // entries, of the go through them that is under way, or of the last one
	Scanned     int `json:"scanned"`
	Reencrypted int `json:"reencrypted"` // in all
	Changed     int `json:"changed"`
	Failed      int `json:"failed"`
	Foreign     int `json:"foreign"`

	Failures []FailedReport `json:"failures"`
}

// RotatedSet names a keyset that a rotation is of.
type RotatedSet struct {
	Use   string `json:"use"`
	Class string `json:"class"`
}

// FailedReport is entries that do not open, by their class, key and error.
type FailedReport struct {
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// Report tells what is known of a rotation.
func (r *Record) Report() Report {
	n := &r.Counts
	report := Report{
		Tenant: r.Tenant, ID: r.ID, State: r.State, Compromised: r.Compromised, Keysets: []RotatedSet{}, BegunAt: Moment(r.Begun),
		RotatedAt: moment(r.Rotated), EndedAt: moment(r.Ended),
		Total: n.Total, Scanned: n.Scanned, Reencrypted: r.Done + n.Reencrypted, Changed: n.Changed, Failed: n.Failed, Foreign: n.Foreign,
		Failures: make([]FailedReport, len(r.Failures)),
	}
	if r.Active() {
		report.NextAt = moment(r.Next)
	}
	for _, k := range r.Keysets {
		if set := (RotatedSet{k.Use.String(), k.Class.String()}); !slices.Contains(report.Keysets, set) {
			report.Keysets = append(report.Keysets, set)
		}
	}
	for i, f := range r.Failures {
		report.Failures[i] = FailedReport{f.Class.String(), f.ID.String(), f.Code, f.Entries}
	}
	return report
}

// Time is a time that JSON has to the millisecond, in UTC.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z07:00"`)), nil
}

// Moment is a time in milliseconds since 1970.
func Moment(milliseconds int64) Time { return Time{time.UnixMilli(milliseconds)} }

// moment is Moment, or nil for none.
func moment(milliseconds int64) *Time {
	if milliseconds == 0 {
		return nil
	}
	t := Moment(milliseconds)
	return &t
}

// Entries counts what a tenant has in the cache.
func (r *Rotator) Entries(ctx context.Context, tenant string) (n int, err error) {
	prefix := kv.Prefix(tenant, cache.Collection)
	for cursor := ""; ; {
		keys, next, err := r.Store.Scan(ctx, prefix, cursor, 0)
		if cursor != "" && errors.Is(err, kv.ErrCursor) { // another server has them in another order
			n, cursor = 0, ""
			continue
		}
		if n += len(keys); err != nil || next == "" {
			return n, err
		}
		cursor = next
	}
}
