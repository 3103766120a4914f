package api

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/rotation"
)

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
		Rotations []rotation.Report `json:"rotations"`
	}{make([]rotation.Report, len(records))}
	for i, r := range records {
		answer.Rotations[i] = r.Report()
	}
	return answerJSON(c, http.StatusOK, answer)
}
