package api

import (
	"encoding/json"
	"net/http"

	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// sessionJSON is a session. Each operation returns some of its members.
type sessionJSON struct {
	ID        string          `json:"id,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	CreatedAt string          `json:"createdAt"`
	ExpiresAt string          `json:"expiresAt"`
}

func newSessionJSON(x *session.Session) sessionJSON {
	return sessionJSON{CreatedAt: formatTime(x.CreatedAt.UnixMilli()), ExpiresAt: formatTime(x.ExpiresAt.UnixMilli())}
}

// recordSession returns the function that session.Manager calls to record an operation before it takes effect.
func (s *server) recordSession(c *call) session.RecordFunc {
	c.class = classify.Confidential
	return func(action audit.Action, keyID format.KeyID, err error) error {
		e := c.event(action)
		e.Class, e.KeyID = classify.Confidential, keyID
		if err != nil {
			e.Code = codes.Of(translate(err)).Code
		}
		return s.recordEvents(c, e)
	}
}

// createSession seals the data under a new key and sends the id from which the key is derived.
func (s *server) createSession(c *call) error {
	if err := parseNoQuery(c); err != nil {
		return err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return err
	}
	sessions := c.sessions()
	data, ttl, err := parseNewSession(text, sessions.MaxTTL())
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	id, created, err := sessions.Create(ctx, data, ttl, s.recordSession(c))
	if err != nil {
		return err
	}
	response := newSessionJSON(&created)
	response.ID = id
	return writeJSON(c, http.StatusCreated, response)
}

// getSession verifies a session and sends its data.
func (s *server) getSession(c *call) error {
	id, err := parseSessionID(c)
	if err != nil {
		return err
	}
	if err := parseNoQuery(c); err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	found, err := c.sessions().Get(ctx, id, s.recordSession(c))
	if err != nil {
		return err
	}
	response := newSessionJSON(&found)
	response.Data = found.Data
	return writeJSON(c, http.StatusOK, response)
}

// extendSession sets the time to live of a session.
func (s *server) extendSession(c *call) error {
	id, err := parseSessionID(c)
	if err != nil {
		return err
	}
	ttl, err := parseNewTTL(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	extended, err := c.sessions().Extend(ctx, id, ttl, s.recordSession(c))
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newSessionJSON(&extended))
}

// endSession deletes a session. It succeeds if there is no such session.
func (s *server) endSession(c *call) error {
	id, err := parseSessionID(c)
	if err != nil {
		return err
	}
	if err := parseNoQuery(c); err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	err = c.sessions().End(ctx, id, s.recordSession(c))
	if err != nil && err != session.ErrNotFound {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
