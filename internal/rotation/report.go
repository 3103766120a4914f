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

// Status is the public description of rotations, as the command and the HTTP API return it. It contains no names of
// entries.
type Status struct {
	Rotations []Report     `json:"rotations"`
	Sweep     *SweepReport `json:"sweep,omitempty"` // nil if there was no sweep
	Warnings  []string     `json:"warnings"`        // reasons why no key is destroyed
}

// Report describes a tenant's rotation. Times that are not known yet are omitted.
type Report struct {
	Tenant      string          `json:"tenant"`
	ID          string          `json:"id"`
	State       State           `json:"state"`
	Reason      audit.Reason    `json:"reason,omitempty"`
	Compromised bool            `json:"compromised"`
	Keysets     []RotatedKeyset `json:"keysets"`
	BegunAt     Time            `json:"begunAt"`
	RotatedAt   *Time           `json:"rotatedAt,omitempty"` // when the last new primaries were made
	NextAt      *Time           `json:"nextAt,omitempty"`    // when the grace period ends; only in the state grace
	EndedAt     *Time           `json:"endedAt,omitempty"`
	Reencrypted int             `json:"reencrypted"` // number of entries, as are the next two
	Changed     int             `json:"changed"`
	Failed      int             `json:"failed"`
	Failures    []FailureReport `json:"failures"`
}

// RotatedKeyset names a keyset that a rotation gave a new primary.
type RotatedKeyset struct {
	Use   string `json:"use"`
	Class string `json:"class"`
}

// FailureReport counts entries that do not open, by class, key and error code.
type FailureReport struct {
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// SweepReport describes the sweep that is running or was the last.
type SweepReport struct {
	StartedAt Time   `json:"startedAt"`
	EndedAt   *Time  `json:"endedAt,omitempty"`
	Fault     string `json:"fault,omitempty"` // why the sweep is incomplete
	Parts     int    `json:"parts"`
	PartsDone int    `json:"partsDone"`
	Expected  int    `json:"expected"` // number of entries that the last complete sweep visited; 0 if there was none
	Scanned   int    `json:"scanned"`
	Foreign   int    `json:"foreign"`
}

// Report returns the description of the rotation.
func (r *Record) Report() Report {
	report := Report{
		Tenant: r.Tenant, ID: r.ID, State: r.State, Reason: r.Requester.Reason, Compromised: r.Compromised(), Keysets: make([]RotatedKeyset, len(r.Keysets)),
		BegunAt: TimeFromMilli(r.Begun), RotatedAt: optionalTime(r.Rotated), EndedAt: optionalTime(r.Ended),
		Reencrypted: r.Counts.Reencrypted, Changed: r.Counts.Changed, Failed: r.Counts.Failed, Failures: make([]FailureReport, len(r.Failures)),
	}
	if r.State == Grace {
		report.NextAt = optionalTime(r.NextCheck)
	}
	for i, k := range r.Keysets {
		report.Keysets[i] = RotatedKeyset{k.Use.String(), k.Class.String()}
	}
	for i, f := range r.Failures {
		report.Failures[i] = FailureReport{f.Class.String(), f.ID.String(), f.Code, f.Entries}
	}
	return report
}

// Report returns the description of the sweep.
func (s *Sweep) Report() *SweepReport {
	n := s.Counts()
	return &SweepReport{TimeFromMilli(s.Started), optionalTime(s.Ended), s.Fault, len(s.Parts), s.partsDone(), s.Expected(), n.Scanned, n.Foreign}
}

// Status describes the rotations, ordered by tenant, and the sweep.
func (r *Rotator) Status(ctx context.Context, records []*Record) (Status, error) {
	status := Status{Rotations: []Report{}, Warnings: []string{}}
	for _, record := range records {
		if record != nil && record.State != Idle {
			status.Rotations = append(status.Rotations, record.Report())
		}
	}
	slices.SortFunc(status.Rotations, func(a, b Report) int { return cmp.Compare(a.Tenant, b.Tenant) })
	s, err := r.CurrentSweep(ctx)
	if err != nil {
		return status, err
	}
	if s.Number > 0 {
		status.Sweep = s.Report()
	}
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Servers) {
		var one announcement
		if err != nil && document.Err == nil {
			return status, err
		}
		if json.Unmarshal(document.Content, &one) == nil && len(one.Unshared) > 0 && one.isRecent(r.now()) {
			status.Warnings = append(status.Warnings, fmt.Sprintf("server %s: %s", one.name(), unsharedText(one.Unshared)))
		}
	}
	return status, nil
}

// Time is a time that is encoded in JSON in UTC and with milliseconds.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z07:00"`)), nil
}

// TimeFromMilli returns the Time of a number of milliseconds since 1970.
func TimeFromMilli(milliseconds int64) Time { return Time{time.UnixMilli(milliseconds)} }

// optionalTime is like TimeFromMilli but returns nil for 0.
func optionalTime(milliseconds int64) *Time {
	if milliseconds == 0 {
		return nil
	}
	t := TimeFromMilli(milliseconds)
	return &t
}
