package client

import (
	"context"
	"net/http"
	"time"
)

// Health says whether a server can serve requests, and the codes of what does not work in the meantime.
type Health struct {
	Status   string         `json:"status"` // ok or degraded
	Degraded []string       `json:"degraded,omitempty"`
	Checks   []FailingCheck `json:"checks,omitempty"` // for a token of every tenant with the scope keys:admin
}

// FailingCheck is something that a server needs and that does not work.
type FailingCheck struct {
	Code   string    `json:"code"`
	Effect string    `json:"effect"` // not_ready or degraded
	Since  time.Time `json:"since"`
	Detail string    `json:"detail"` // the cause, for people
}

// Live returns nil if the server's process answers.
func (c *Client) Live(ctx context.Context) error {
	return c.send(ctx, newRequest(http.MethodGet, "/livez"), ignore)
}

// Ready returns an error if the server cannot serve requests now. It is never retried: not being ready is an answer.
func (c *Client) Ready(ctx context.Context) (health Health, err error) {
	r := newRequest(http.MethodGet, "/readyz")
	r.once = true
	err = c.send(ctx, r, decode(&health))
	return health, err
}

// Metrics returns the server's metrics in Prometheus' text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) { return c.text(ctx, "/metrics") }

// Document returns the OpenAPI document that the server was built with, in YAML.
func (c *Client) Document(ctx context.Context) ([]byte, error) {
	return c.text(ctx, "/v1/openapi.yaml")
}

// Docs returns that document as an HTML page.
func (c *Client) Docs(ctx context.Context) ([]byte, error) { return c.text(ctx, "/v1/docs") }

func (c *Client) text(ctx context.Context, path string) (text []byte, err error) {
	err = c.send(ctx, newRequest(http.MethodGet, path), func(_ *http.Response, body []byte) error {
		text = body
		return nil
	})
	return text, err
}
