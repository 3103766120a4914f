package api

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/rotation"
)

// rotationJSON is how far a tenant's last rotation has come. Times that are not there yet are left out.
type rotationJSON struct {
	Tenant      string        `json:"tenant"`
	ID          string        `json:"id"`
	State       string        `json:"state"`
	Compromised bool          `json:"compromised"`
	BegunAt     string        `json:"begunAt"`
	RotatedAt   string        `json:"rotatedAt,omitempty"`
	NextAt      string        `json:"nextAt,omitempty"`
	EndedAt     string        `json:"endedAt,omitempty"`
	Total       int           `json:"total"`
	Scanned     int           `json:"scanned"`
	Reencrypted int           `json:"reencrypted"`
	Changed     int           `json:"changed"`
	Failed      int           `json:"failed"`
	Foreign     int           `json:"foreign"`
	Failures    []failureJSON `json:"failures"`
}

type failureJSON struct {
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// listRotations answers the last rotations of the tenants that the token administers, or of one.
func (s *server) listRotations(c *call) error {
	values, err := query(c, "tenant")
	if err != nil {
		return err
	}
	one, err := s.administered(c, values)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	var records []*rotation.Record
	if one == identity.EveryTenant {
		records, err = s.rotator.Records(ctx)
	} else {
		var record *rotation.Record
		record, err = s.rotator.Record(ctx, one)
		records = append(records, record)
	}
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r *rotation.Record) bool { return r == nil || r.State == rotation.Idle })
	slices.SortFunc(records, func(a, b *rotation.Record) int { return cmp.Compare(a.Tenant, b.Tenant) })
	answer := struct {
		Rotations []rotationJSON `json:"rotations"`
	}{make([]rotationJSON, len(records))}
	for i, r := range records {
		answer.Rotations[i] = describeRotation(r)
	}
	return answerJSON(c, http.StatusOK, answer)
}

func describeRotation(r *rotation.Record) rotationJSON {
	n := &r.Counts
	d := rotationJSON{
		Tenant: r.Tenant, ID: r.ID, State: string(r.State), Compromised: r.Compromised, BegunAt: formatTime(r.Begun), RotatedAt: timeIfAny(r.Rotated),
		NextAt: timeIfAny(r.Next), EndedAt: timeIfAny(r.Ended), Total: n.Total, Scanned: n.Scanned, Reencrypted: r.Done + n.Reencrypted,
		Changed: n.Changed, Failed: n.Failed, Foreign: n.Foreign, Failures: make([]failureJSON, len(r.Failures)),
	}
	if !r.Active() {
		d.NextAt = ""
	}
	for i, f := range r.Failures {
		d.Failures[i] = failureJSON{f.Class.String(), f.ID.String(), f.Code, f.Entries}
	}
	return d
}

// timeIfAny writes a time; nothing for none.
func timeIfAny(milliseconds int64) string {
	if milliseconds == 0 {
		return ""
	}
	return formatTime(milliseconds)
}
