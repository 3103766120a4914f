package api

import (
	"net/http"
	"net/url"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
)

var errNoKeyset = &codes.Error{Of: "not_found", Text: "the tenant has no keys of that class"}

// rotateKeys begins a rotation, which the servers work on.
func (s *server) rotateKeys(c *call) error {
	values, err := query(c, "tenant", "class", "compromised")
	if err != nil {
		return err
	}
	order, err := orderOf(values)
	if err != nil {
		return err
	}
	tenant, err := s.recordChange(c, values, audit.KeyRotate, order.Class)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	record, err := s.rotator.Begin(ctx, tenant, order)
	if err == nil && record.State == rotation.Idle {
		err = errNoKeyset
	}
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, describeRotation(record))
}

// rollbackKeys takes a rotation back.
func (s *server) rollbackKeys(c *call) error {
	values, err := query(c, "tenant")
	if err != nil {
		return err
	}
	tenant, err := s.recordChange(c, values, audit.KeyRollback, 0)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	record, err := s.rotator.Rollback(ctx, tenant)
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, describeRotation(record))
}

// orderOf reads what is to be rotated.
func orderOf(values url.Values) (order rotation.Order, err error) {
	if values.Has("class") {
		if order.Class, err = classify.Parse(values.Get("class")); err != nil {
			return order, err
		}
	}
	switch values.Get("compromised") {
	case "true":
		order.Compromised = true
	case "false":
	default:
		if values.Has("compromised") {
			return order, invalid("compromised is true or false")
		}
	}
	return order, nil
}

// recordChange records who changes the keys of which tenant, before anything is changed, and gives the tenant.
func (s *server) recordChange(c *call, values url.Values, action audit.Action, class classify.Class) (string, error) {
	tenant, err := s.administered(c, values)
	switch {
	case err != nil:
		return "", err
	case tenant == identity.EveryTenant:
		return "", invalid("the tenant is missing: an operator names the one whose keys are meant")
	case s.unencrypted:
		return "", cache.ErrEncryption
	}
	e := c.event(action)
	e.Tenant, e.Class = tenant, class
	return tenant, s.recordEvents(c, []audit.Event{e})
}
