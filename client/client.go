// Package client is a client of Coffer's HTTP API for Go programs: the cache, the encryption service and sessions.
//
// A request is sent again only where that is harmless: what is idempotent is retried after 429, 502, 503, 504
// and failed connections, everything else is sent once. Where an earlier attempt may have taken effect, a
// condition that the retry finds broken is not reported as such: the first failure is. No error holds a key,
// a value, a context or a token.
//
// The types are written by hand. What oapi-codegen generates from the document is thirty times as long, needs
// a run-time library, has other types for classes and times than the rest of Coffer, and rounds encryptedAt,
// so that packages would not survive a round trip. Tests hold members and operations to the document instead.
package client

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/shared/codes"
)

const (
	defaultAttempts = 4
	defaultTimeout  = time.Minute
)

// Client talks to one server with one token. It is safe for concurrent use; make one and share it.
type Client struct {
	base     string
	token    string
	http     http.Client
	attempts uint
	timeout  time.Duration
}

// Option changes what New makes.
type Option func(*Client)

// WithToken sets the bearer token: an API token, or a JWT of the issuer that the server trusts.
func WithToken(token string) Option { return func(c *Client) { c.token = strings.TrimSpace(token) } }

// WithHTTPClient sets the HTTP client, for your own certificates and proxies. It is copied. Redirects are
// never followed: the API has none, and no token or value may go elsewhere.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = *h } }

// WithAttempts sets how often a request that is safe to repeat is sent at most. The default is 4; 1 turns retries off.
func WithAttempts(n uint) Option { return func(c *Client) { c.attempts = max(n, 1) } }

// WithTimeout bounds one attempt, bodies included; the default is a minute. The context of a call bounds all
// attempts and the pauses between them. A value that is read as a stream is bounded until it begins, one that
// is written as a stream by the context alone.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// New makes a client for the server at baseURL, such as https://coffer.example. It fails if baseURL is not
// the URL of a server.
func New(baseURL string, options ...Option) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, &codes.Error{Of: "invalid_argument", Text: "the base URL is not one such as https://coffer.example"}
	}
	c := &Client{base: strings.TrimRight(baseURL, "/"), attempts: defaultAttempts, timeout: defaultTimeout}
	for _, option := range options {
		option(c)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// String names the client without its token, for logs.
func (c *Client) String() string { return fmt.Sprintf("coffer client of %s", c.base) }

// GoString is String, so that %#v does not print the token either.
func (c *Client) GoString() string { return c.String() }
