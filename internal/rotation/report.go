package rotation

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
)

// Status is what people and programs are told about rotations, by the command and over HTTP. It contains no name of
// an entry.
type Status struct {
	Rotations []Report     `json:"rotations"`
	Sweep     *SweepReport `json:"sweep,omitempty"` // nil if there was none
	Warnings  []string     `json:"warnings"`        // why no key is destroyed
}

// Report is about a tenant's rotation. Times that are not known yet are left out.
type Report struct {
	Tenant      string         `json:"tenant"`
	ID          string         `json:"id"`
	State       State          `json:"state"`
	Reason      audit.Reason   `json:"reason,omitempty"`
	Compromised bool           `json:"compromised"`
	Keysets     []RotatedSet   `json:"keysets"`
	BegunAt     Time           `json:"begunAt"`
	RotatedAt   *Time          `json:"rotatedAt,omitempty"` // when the last new primaries were made
	NextAt      *Time          `json:"nextAt,omitempty"`    // before then there is nothing to do
	EndedAt     *Time          `json:"endedAt,omitempty"`
	Reencrypted int            `json:"reencrypted"` // entries
	Changed     int            `json:"changed"`
	Failed      int            `json:"failed"`
	Failures    []FailedReport `json:"failures"`
}

// RotatedSet names a keyset that a rotation gave a new primary.
type RotatedSet struct {
	Use   string `json:"use"`
	Class string `json:"class"`
}

// FailedReport counts entries that do not open, by their class, key and error.
type FailedReport struct {
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// SweepReport is about the sweep that is under way, or was the last.
type SweepReport struct {
	StartedAt Time   `json:"startedAt"`
	EndedAt   *Time  `json:"endedAt,omitempty"`
	Fault     string `json:"fault,omitempty"` // why it is incomplete
	Parts     int    `json:"parts"`
	PartsDone int    `json:"partsDone"`
	Expected  int    `json:"expected"` // entries, as many as the last complete sweep visited; 0 if there was none
	Scanned   int    `json:"scanned"`
	Foreign   int    `json:"foreign"`
}

// Report describes the rotation.
func (r *Record) Report() Report {
	report := Report{
		Tenant: r.Tenant, ID: r.ID, State: r.State, Reason: r.By.Reason, Compromised: r.Compromised(), Keysets: make([]RotatedSet, len(r.Keysets)),
		BegunAt: Moment(r.Begun), RotatedAt: moment(r.Rotated), EndedAt: moment(r.Ended),
		Reencrypted: r.Counts.Reencrypted, Changed: r.Counts.Changed, Failed: r.Counts.Failed, Failures: make([]FailedReport, len(r.Failures)),
	}
	if r.State == Grace {
		report.NextAt = moment(r.Next)
	}
	for i, k := range r.Keysets {
		report.Keysets[i] = RotatedSet{k.Use.String(), k.Class.String()}
	}
	for i, f := range r.Failures {
		report.Failures[i] = FailedReport{f.Class.String(), f.ID.String(), f.Code, f.Entries}
	}
	return report
}

// Report describes the sweep.
func (s *Sweep) Report() *SweepReport {
	n := s.Counts()
	return &SweepReport{Moment(s.Started), moment(s.Ended), s.Fault, len(s.Parts), s.done(), s.Expected(), n.Scanned, n.Foreign}
}

// Status describes rotations, in the order of their tenants, and the sweep.
func (r *Rotator) Status(ctx context.Context, records []*Record) (Status, error) {
	status := Status{Rotations: []Report{}, Warnings: []string{}}
	for _, record := range records {
		if record != nil && record.State != Idle {
			status.Rotations = append(status.Rotations, record.Report())
		}
	}
	slices.SortFunc(status.Rotations, func(a, b Report) int { return cmp.Compare(a.Tenant, b.Tenant) })
	s, err := r.Sweep(ctx)
	if err != nil {
		return status, err
	}
	if s.Number > 0 {
		status.Sweep = s.Report()
	}
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Servers) {
		var one server
		if err != nil && document.Err == nil {
			return status, err
		}
		if json.Unmarshal(document.Content, &one) == nil && len(one.Apart) > 0 && one.near(r.now()) {
			status.Warnings = append(status.Warnings, fmt.Sprintf("server %s: %s", one.name(), apartText(one.Apart)))
		}
	}
	return status, nil
}

// Time is a time that JSON has to the millisecond, in UTC.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z07:00"`)), nil
}

// Moment returns a time in milliseconds since 1970.
func Moment(milliseconds int64) Time { return Time{time.UnixMilli(milliseconds)} }

// moment is Moment, or nil for 0.
func moment(milliseconds int64) *Time {
	if milliseconds == 0 {
		return nil
	}
	t := Moment(milliseconds)
	return &t
}
