package client

import (
	"context"
	"net/http"
	"time"
)

// Health is the state of a server that can serve requests.
type Health struct {
	Status   string         `json:"status"`             // ok or degraded
	Degraded []string       `json:"degraded,omitempty"` // codes of failing checks that are not needed at the moment
	Checks   []FailingCheck `json:"checks,omitempty"`   // for a token of every tenant with the scope keys:admin
}

// FailingCheck is a failing check of a server.
type FailingCheck struct {
	Code   string    `json:"code"`
	Effect string    `json:"effect"` // not_ready or degraded
	Since  time.Time `json:"since"`
	Detail string    `json:"detail"` // the cause, for people
}

// Live returns nil if the server's process responds.
func (c *Client) Live(ctx context.Context) error {
	return c.send(ctx, newRequest(http.MethodGet, "/livez"), ignore)
}

// Ready returns an error if the server cannot serve requests. It is never retried, because this is not a failure of the request.
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

// Docs returns the OpenAPI document as an HTML page.
func (c *Client) Docs(ctx context.Context) ([]byte, error) { return c.text(ctx, "/v1/docs") }

func (c *Client) text(ctx context.Context, path string) (text []byte, err error) {
	err = c.send(ctx, newRequest(http.MethodGet, path), func(_ *http.Response, body []byte) error {
		text = body
		return nil
	})
	return text, err
}
