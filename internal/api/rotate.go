package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var errNoKeyset = &codes.Error{Of: "not_found", Text: "the tenant has no keys of that class"}

// rotateKeys begins a rotation, which the servers work on.
func (s *server) rotateKeys(c *call) error {
	f, err := s.changeOf(c, nil, "tenant", "class", "compromised", "reason")
	if err != nil {
		return err
	}
	order, err := orderOf(f)
	if err != nil {
		return err
	}
	if order.Requester, err = c.by(f); err != nil {
		return err
	}
	return s.change(c, f, audit.KeyRotate, order.Class, order.Requester.Reason,
		func(ctx context.Context, tenant string) error { return s.rotatable(ctx, tenant, order.Class) },
		func(ctx context.Context, tenant string) (*rotation.Record, error) {
			return s.rotator.Begin(ctx, tenant, order)
		})
}

// rollbackKeys takes a rotation back.
func (s *server) rollbackKeys(c *call) error {
	f, err := s.changeOf(c, nil, "tenant", "reason")
	if err != nil {
		return err
	}
	by, err := c.by(f)
	if err != nil {
		return err
	}
	return s.change(c, f, audit.KeyRollback, 0, by.Reason, s.reversible,
		func(ctx context.Context, tenant string) (*rotation.Record, error) {
			return s.rotator.Rollback(ctx, tenant, by)
		})
}

// rotatable returns an error where the tenant has no keys that can be rotated.
func (s *server) rotatable(ctx context.Context, tenant string, class classify.Class) error {
	d, err := s.ring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	if d.Shredded() {
		return envelope.ErrKeyDestroyed
	}
	if !slices.ContainsFunc(d.Keysets, func(k envelope.Keyset) bool { return k.Use != format.UseStorage && (class == 0 || k.Class == class) }) {
		return errNoKeyset
	}
	return nil
}

// reversible returns rotation.ErrNoRollback where none of the tenant's rotations can be rolled back.
func (s *server) reversible(ctx context.Context, tenant string) error {
	record, err := s.rotator.Record(ctx, tenant)
	if err != nil {
		return err
	}
	if record == nil || record.State != rotation.RolledBack && !slices.ContainsFunc(record.Keysets, func(k rotation.Keyset) bool { return record.CanRollBack(&k) }) {
		return rotation.ErrNoRollback
	}
	return nil
}

// changeOf reads the body of a request that changes keys. It has no query.
func (s *server) changeOf(c *call, needed []string, allowed ...string) (*fields, error) {
	if _, err := query(c); err != nil {
		return nil, err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return nil, err
	}
	all, err := object(text, needed, allowed...)
	if err != nil {
		return nil, err
	}
	f := &fields{members: all}
	for name := range all {
		if name != "compromised" {
			f.text(name) // fails if it is not a string
		}
	}
	return f, f.err
}

// orderOf reads what is to be rotated.
func orderOf(f *fields) (order rotation.Order, err error) {
	order.Class = f.class("class")
	switch string(f.members["compromised"]) {
	case "true":
		order.Compromised = true
	case "", "false":
	default:
		f.fail(invalid("compromised is true or false"))
	}
	return order, f.err
}

// changed gives the tenant whose keys a request changes.
func (s *server) changed(c *call, f *fields) (string, error) {
	name := f.text("tenant")
	if f.err != nil {
		return "", f.err
	}
	tenant, err := s.administered(c, f.has("tenant"), name)
	switch {
	case err != nil:
		return "", err
	case tenant == identity.EveryTenant:
		return "", invalid("the tenant is missing: an operator names the one whose keys are meant")
	case s.unencrypted:
		return "", cache.ErrEncryption
	}
	return tenant, nil
}

// change has a tenant's keys changed, with who asked for it on record before, where check finds nothing
// against it. What it was refused for, or failed with, is on record as well.
func (s *server) change(
	c *call, f *fields, action audit.Action, class classify.Class, reason audit.Reason,
	check func(ctx context.Context, tenant string) error, do func(ctx context.Context, tenant string) (*rotation.Record, error),
) error {
	tenant, err := s.changed(c, f)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	e := c.event(action)
	e.Tenant, e.Class, e.Facts = tenant, class, audit.Facts(nil).With(reason)
	if err := check(ctx, tenant); err != nil {
		return s.failed(c, e, err)
	}
	e.Facts = audit.Facts{audit.FactPhase: audit.PhaseAsked}.With(reason)
	var record *rotation.Record
	err = audit.Announce(ctx, s.audit, func(ctx context.Context) (err error) {
		record, err = do(ctx, tenant)
		return err
	}, e)
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, record.Report())
}

// failed records, unless it is on record, that a change of keys was refused or failed, and returns err, or that it could not be recorded.
func (s *server) failed(c *call, e audit.Event, err error) error {
	if audit.IsAnnounced(err) {
		return err
	}
	e.Code = codes.Of(translate(err)).Code
	if e := s.recordEvents(c, []audit.Event{e}); e != nil {
		return e
	}
	return err
}
