package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Session is an encrypted session.
type Session struct {
	ID        string          `json:"id,omitempty"`   // only from CreateSession; opens the session together with a token
	Data      json.RawMessage `json:"data,omitempty"` // a JSON object; only from GetSession
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

// CreateSession creates a session and returns its id. The server seals data, which must encode to a JSON object, under a new key
// that is derived from the id. A ttl of 0 means one hour. CreateSession is never retried, because a second request would create a
// second session.
func (c *Client) CreateSession(ctx context.Context, data any, ttl time.Duration) (created Session, err error) {
	document := newSessionJSON{Data: data}
	if ttl != 0 {
		document.TTL = ttl.String()
	}
	r := newRequest(http.MethodPost, "/v1/sessions").withJSON(document)
	r.once = true
	if ttl < 0 {
		r.fail(invalid("the time to live is negative", nil))
	}
	err = c.send(ctx, r, decode(&created))
	return created, err
}

// GetSession verifies a session and returns its data. It returns ErrNotFound if the session does not exist, has ended or has
// expired.
func (c *Client) GetSession(ctx context.Context, id string) (found Session, err error) {
	err = c.send(ctx, sessionRequest(http.MethodGet, id), decode(&found))
	return found, err
}

// ExtendSession makes a session expire after ttl from now, which must be at most 24 hours after its creation.
func (c *Client) ExtendSession(ctx context.Context, id string, ttl time.Duration) (extended Session, err error) {
	r := sessionRequest(http.MethodPatch, id)
	r.setTTL(ttl)
	err = c.send(ctx, r, decode(&extended))
	return extended, err
}

// EndSession ends a session. It succeeds if there is no such session.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.send(ctx, sessionRequest(http.MethodDelete, id), ignore)
}
