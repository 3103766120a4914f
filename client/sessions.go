package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Session is an encrypted session.
type Session struct {
	ID        string          `json:"id,omitempty"`   // from CreateSession alone; whoever has it and a token opens the session
	Data      json.RawMessage `json:"data,omitempty"` // an object; from GetSession alone
	CreatedAt time.Time       `json:"createdAt"`
	ExpiresAt time.Time       `json:"expiresAt"`
}

type newSessionJSON struct {
	Data any    `json:"data"`
	TTL  string `json:"ttl,omitempty"`
}

func sessionRequest(method, id string) *request {
	r := newRequest(method, "/v1/session")
	r.setHeader("Coffer-Session", id)
	return r
}

// CreateSession seals data, which must encode to a JSON object, under a key of the session's own. A ttl of 0
// is one hour. It is never retried, since a second request would make a second session.
func (c *Client) CreateSession(ctx context.Context, data any, ttl time.Duration) (made Session, err error) {
	document := newSessionJSON{Data: data}
	if ttl != 0 {
		document.TTL = ttl.String()
	}
	r := newRequest(http.MethodPost, "/v1/sessions").withJSON(document)
	r.once = true
	if ttl < 0 {
		r.fail(invalid("the time to live is negative", nil))
	}
	err = c.send(ctx, r, decode(&made))
	return made, err
}

// GetSession verifies a session and reads its data. It returns ErrNotFound where it is not in force, for
// whatever reason.
func (c *Client) GetSession(ctx context.Context, id string) (found Session, err error) {
	err = c.send(ctx, sessionRequest(http.MethodGet, id), decode(&found))
	return found, err
}

// ExtendSession keeps a session in force for ttl from now, at most 24 hours from its creation.
func (c *Client) ExtendSession(ctx context.Context, id string, ttl time.Duration) (extended Session, err error) {
	r := sessionRequest(http.MethodPatch, id)
	r.setTTL(ttl)
	err = c.send(ctx, r, decode(&extended))
	return extended, err
}

// EndSession ends a session. It is no error if there is none.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.send(ctx, sessionRequest(http.MethodDelete, id), ignore)
}
