package api

import (
	"net/http"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/rotation"
)

// listRotations answers the last rotations of the tenants that the token administers, or of one, and how far the sweep is.
func (s *server) listRotations(c *call) error {
	values, err := query(c, "tenant")
	if err != nil {
		return err
	}
	one, err := s.administered(c, values.Has("tenant"), values.Get("tenant"))
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
	status, err := s.rotator.Status(ctx, records)
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, status)
}
