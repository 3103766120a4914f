package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var (
	errOtherTenant = &codes.Error{ErrorCode: "forbidden", Message: "the token administers only its own tenant"}
	errNoKeyset    = &codes.Error{ErrorCode: "not_found", Message: "the tenant has no keys of that class"}
)

// administeredTenant returns the tenant that a request names. The default is the token's own tenant, which is
// identity.EveryTenant for an operator's token.
func (c *call) administeredTenant(named *string) (string, error) {
	if named == nil {
		return c.id.Tenant, nil
	}
	if !identity.ValidTenant(*named) || *named == identity.EveryTenant {
		return "", invalid("a tenant is " + identity.TenantRule + ", and not *")
	}
	if !c.id.CanAdminister(*named) {
		return "", c.refuse(errOtherTenant)
	}
	return *named, nil
}

// changedTenant returns the one tenant whose keys a request changes.
func (s *server) changedTenant(c *call, named *string) (string, error) {
	tenant, err := c.administeredTenant(named)
	switch {
	case err != nil:
		return "", err
	case tenant == identity.EveryTenant:
		return "", invalid("the tenant is missing: an operator must name the tenant whose keys are changed")
	case s.unencrypted:
		return "", cache.ErrEncryption
	}
	return tenant, nil
}

// listKeysets sends the keysets of one tenant, or of a page of all tenants that the token administers.
func (s *server) listKeysets(c *call) error {
	q, err := parseKeysetQuery(c)
	if err != nil {
		return err
	}
	tenant, err := c.administeredTenant(q.tenant)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	page := struct {
		Keysets []lifecycle.Keyset `json:"keysets"`
		Cursor  string             `json:"cursor,omitempty"`
	}{Keysets: []lifecycle.Keyset{}}
	if tenant != identity.EveryTenant {
		d, err := s.keyring.Document(ctx, tenant)
		if err != nil {
			return err
		}
		page.Keysets = lifecycle.Describe(d, s.rotator)
		return writeJSON(c, http.StatusOK, page)
	}
	documents, next, err := s.keyring.DocumentPage(ctx, q.afterTenant, q.pageSize)
	if err != nil {
		return err
	}
	for _, d := range documents {
		page.Keysets = append(page.Keysets, lifecycle.Describe(d, s.rotator)...)
	}
	page.Cursor = formatCursor(next)
	return writeJSON(c, http.StatusOK, page)
}

// listRotations sends the last rotation of one tenant, or of all tenants that the token administers, and the progress of the
// sweep.
func (s *server) listRotations(c *call) error {
	query, err := parseQuery(c, "tenant")
	if err != nil {
		return err
	}
	tenant, err := c.administeredTenant(optional(query, "tenant"))
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	var records []*rotation.Record
	if tenant == identity.EveryTenant {
		records, err = s.rotator.Records(ctx)
	} else {
		var record *rotation.Record
		record, err = s.rotator.Record(ctx, tenant)
		records = append(records, record)
	}
	if err != nil {
		return err
	}
	status, err := s.rotator.Status(ctx, records)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, status)
}

// rotateKeys starts a rotation. The servers re-encrypt the cache afterwards.
func (s *server) rotateKeys(c *call) error {
	change, err := s.parseKeyChange(c, nil, "tenant", "class", "compromised", "reason")
	if err != nil {
		return err
	}
	tenant, err := s.changedTenant(c, change.tenant)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	e := c.event(audit.KeyRotate)
	e.Tenant, e.Class, e.Facts = tenant, change.class, audit.Facts(nil).With(change.reason)
	if err := s.checkRotatable(ctx, tenant, change.class); err != nil {
		return s.recordFailure(c, e, err)
	}
	return s.startRotation(ctx, c, e, change.reason, func(ctx context.Context) (*rotation.Record, error) {
		return s.rotator.Begin(ctx, tenant, rotation.Order{
			Class: change.class, Compromised: change.compromised, Requester: c.requester(change.reason),
		})
	})
}

// rollbackKeys makes the primaries from before the last rotation the primaries again.
func (s *server) rollbackKeys(c *call) error {
	change, err := s.parseKeyChange(c, nil, "tenant", "reason")
	if err != nil {
		return err
	}
	tenant, err := s.changedTenant(c, change.tenant)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	e := c.event(audit.KeyRollback)
	e.Tenant, e.Facts = tenant, audit.Facts(nil).With(change.reason)
	if err := s.checkReversible(ctx, tenant); err != nil {
		return s.recordFailure(c, e, err)
	}
	return s.startRotation(ctx, c, e, change.reason, func(ctx context.Context) (*rotation.Record, error) {
		return s.rotator.Rollback(ctx, tenant, c.requester(change.reason))
	})
}

// startRotation records the request for a rotation or a rollback, starts it, and sends its state. If it fails, the audit log
// gets a second event that says so.
func (s *server) startRotation(
	ctx context.Context, c *call, e audit.Event, reason audit.Reason, start func(context.Context) (*rotation.Record, error),
) error {
	e.Facts = audit.Facts{audit.FactPhase: audit.PhaseAsked}.With(reason)
	var record *rotation.Record
	err := audit.Announce(ctx, s.audit, func(ctx context.Context) (err error) {
		record, err = start(ctx)
		return err
	}, e)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, record.Report())
}

// checkRotatable returns an error if the tenant has no keys of the class that can be rotated. Class 0 means every class.
func (s *server) checkRotatable(ctx context.Context, tenant string, class classify.Class) error {
	d, err := s.keyring.Document(ctx, tenant)
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

// checkReversible returns rotation.ErrNoRollback if the tenant's last rotation cannot be rolled back.
func (s *server) checkReversible(ctx context.Context, tenant string) error {
	record, err := s.rotator.Record(ctx, tenant)
	if err != nil {
		return err
	}
	canRollBack := func(k rotation.Keyset) bool { return record.CanRollBack(&k) }
	if record == nil || record.State != rotation.RolledBack && !slices.ContainsFunc(record.Keysets, canRollBack) {
		return rotation.ErrNoRollback
	}
	return nil
}

// requester returns who sent the request and why, for the events of the rotation.
func (c *call) requester(reason audit.Reason) rotation.Requester {
	return rotation.Requester{Issuer: c.id.Issuer, Subject: c.id.Subject, RequestID: c.requestID, Reason: reason}
}
