package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"time"

	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	sessionHeader  = "Coffer-Session"
	defaultSession = time.Hour
)

type sessionJSON struct {
	ID        string          `json:"id,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	CreatedAt string          `json:"createdAt"`
	ExpiresAt string          `json:"expiresAt"`
}

func describeSession(x *session.Session) sessionJSON {
	return sessionJSON{CreatedAt: formatTime(x.CreatedAt.UnixMilli()), ExpiresAt: formatTime(x.ExpiresAt.UnixMilli())}
}

// recordSession is what a session's manager tells before it acts.
func (s *server) recordSession(c *call) session.RecordFunc {
	c.class = classify.Confidential
	return func(action audit.Action, keyID format.KeyID, failed error) error {
		e := c.event(action)
		e.Class, e.KeyID = classify.Confidential, keyID
		if failed != nil {
			e.Code = codes.Of(failed).Code
		}
		return s.recordEvents(c, []audit.Event{e})
	}
}

// createSession seals data under a key of its own, and answers the id that opens it.
func (s *server) createSession(c *call) error {
	if _, err := query(c); err != nil {
		return err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return err
	}
	all, err := object(text, []string{"data"}, "ttl")
	if err != nil {
		return err
	}
	data := bytes.TrimSpace(all["data"])
	if _, err := members(data, len(data), errUnknown); err != nil {
		return err
	}
	f, lasting := fields{members: all}, min(defaultSession, c.tenant.sessions.MaxTTL())
	if f.has("ttl") {
		if lasting, err = parseTTL(f.text("ttl")); err != nil {
			return err
		}
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	id, made, err := c.tenant.sessions.Create(ctx, data, lasting, s.recordSession(c))
	if err != nil {
		return err
	}
	answer := describeSession(&made)
	answer.ID = id
	return answerJSON(c, http.StatusCreated, answer)
}

var sessionID = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// sessionOf reads the session's id from its header. It is not part of the path, because proxies log paths.
func sessionOf(c *call) (string, error) {
	ids := c.Request().Header[sessionHeader]
	if len(ids) != 1 || !sessionID.MatchString(ids[0]) {
		return "", invalid("the header Coffer-Session must be the session's id: 43 characters of base64url")
	}
	return ids[0], nil
}

func (s *server) getSession(c *call) error {
	id, err := sessionOf(c)
	if err != nil {
		return err
	}
	if _, err := query(c); err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	found, err := c.tenant.sessions.Get(ctx, id, s.recordSession(c))
	if err != nil {
		return err
	}
	answer := describeSession(&found)
	answer.Data = found.Data
	return answerJSON(c, http.StatusOK, answer)
}

func (s *server) extendSession(c *call) error {
	id, err := sessionOf(c)
	if err != nil {
		return err
	}
	d, err := newTTL(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	extended, err := c.tenant.sessions.Extend(ctx, id, d, s.recordSession(c))
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, describeSession(&extended))
}

// endSession ends a session; there being none is as good.
func (s *server) endSession(c *call) error {
	id, err := sessionOf(c)
	if err != nil {
		return err
	}
	if _, err := query(c); err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	err = c.tenant.sessions.End(ctx, id, s.recordSession(c))
	if err != nil && err != session.ErrNotFound {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
