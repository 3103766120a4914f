package api

import (
	"net/http"
	"time"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

// eventPage is a page of the audit log.
type eventPage struct {
	Events []audit.Entry `json:"events"`
	Cursor string        `json:"cursor,omitempty"`
}

// headJSON names the last lines of the audit log's chains that are known to be on the disk.
type headJSON struct {
	Head string `json:"head"`
	Time string `json:"time"`
}

var errSince = invalid("since is no time as RFC 3339 has it, such as 2025-01-15T12:00:00Z")

// listEvents answers a page of the audit log, the newest first: the token's tenant's events; of an operator's
// token, all, or one tenant's.
func (s *server) listEvents(c *call) error {
	q, err := s.readEventQuery(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	page, err := s.trail.Page(ctx, q)
	s.charge(c, page.Lines/chargedLines)
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, eventPage{append([]audit.Entry{}, page.Entries...), page.Next.String()})
}

func (s *server) readEventQuery(c *call) (q audit.Query, err error) {
	values, err := query(c, "tenant", "action", "severity", "class", "since", "cursor", "limit")
	if err != nil {
		return q, err
	}
	if q.Limit, err = pageLimit(values); err != nil {
		return q, err
	}
	if q.Tenant, err = s.administered(c, values.Has("tenant"), values.Get("tenant")); err != nil {
		return q, err
	}
	if q.Tenant == identity.EveryTenant {
		q.Tenant = ""
	}
	q.Action = values.Get("action")
	if values.Has("severity") {
		known := false
		if q.Severity, known = audit.ParseSeverity(values.Get("severity")); !known {
			return q, invalid("a severity is info, notice, warning or critical")
		}
	}
	if values.Has("class") {
		class, err := classify.Parse(values.Get("class"))
		if err != nil {
			return q, err
		}
		q.Class = class.String()
	}
	if values.Has("since") {
		if q.Since, err = time.Parse(time.RFC3339, values.Get("since")); err != nil {
			return q, errSince
		}
	}
	if values.Has("cursor") {
		if q.From, err = audit.ParseHeads(values.Get("cursor")); err != nil {
			return q, errCursor
		}
	}
	return q, nil
}

// getEventHead answers the heads of the audit log, for an auditor to keep elsewhere.
func (s *server) getEventHead(c *call) error {
	if _, err := query(c); err != nil {
		return err
	}
	head, err := s.trail.Heads()
	if err != nil {
		return &notReady{code: "audit_unavailable", cause: err}
	}
	return answerJSON(c, http.StatusOK, headJSON{head.Heads.String(), formatTime(head.Time.UnixMilli())})
}
