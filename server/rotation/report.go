package rotation

import (
	"context"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
)

// Report is what people and programs are told of a rotation. It holds no name of an entry.
type Report struct {
	Tenant      string         `json:"tenant"`
	State       State          `json:"state"`
	Compromised bool           `json:"compromised"`
	Keysets     []RotatedSet   `json:"keysets"`
	Begun       time.Time      `json:"begun"`
	Next        *time.Time     `json:"next,omitempty"` // before then there is nothing to do
	Ended       *time.Time     `json:"ended,omitempty"`
	Progress    Counts         `json:"progress"`    // of the go through the entries that is under way, or of the last one
	Reencrypted int            `json:"reencrypted"` // entries, in all
	Failures    []FailedReport `json:"failures"`
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
	report := Report{
		Tenant: r.Tenant, State: r.State, Compromised: r.Compromised, Begun: time.UnixMilli(r.Begun).UTC(), Next: moment(r.Next), Ended: moment(r.Ended),
		Progress: r.Counts, Reencrypted: r.Done + r.Counts.Reencrypted, Keysets: []RotatedSet{}, Failures: []FailedReport{},
	}
	if !r.Active() {
		report.Next = nil
	}
	for _, k := range r.Keysets {
		if set := (RotatedSet{k.Use.String(), k.Class.String()}); !slices.Contains(report.Keysets, set) {
			report.Keysets = append(report.Keysets, set)
		}
	}
	for _, f := range r.Failures {
		report.Failures = append(report.Failures, FailedReport{f.Class.String(), f.ID.String(), f.Code, f.Entries})
	}
	return report
}

func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

// Entries counts what a tenant has in the cache.
func (r *Rotator) Entries(ctx context.Context, tenant string) (n int, err error) {
	prefix := kv.Prefix(tenant, cache.Collection)
	for cursor := ""; ; {
		keys, next, err := r.Store.Scan(ctx, prefix, cursor, 0)
		if n += len(keys); err != nil || next == "" {
			return n, err
		}
		cursor = next
	}
}
