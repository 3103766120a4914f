// Package client is a client of Coffer's HTTP API: the cache, the encryption service and sessions, for Go programs on other hosts.
//
// It guarantees that what is not safe to send twice is sent once: only operations whose repetition does no more than the operation are sent
// again, after 429, 502, 503, 504 and failed connections. Where a first attempt may have taken effect, a condition that the second
// finds broken is not told as such: the first failure is. No key, value, context or token is in an error.
//
// The types are written by hand: what oapi-codegen makes of the document is thirty times as long, needs a run-time library, takes classes
// and times as other types than the rest of Coffer, and rounds encryptedAt, so that packages would not come back as they were.
// Tests hold members and operations to the document instead.
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

// Client speaks to one server under one token. It is safe for concurrent use; a program makes one and shares it.
type Client struct {
	base     string
	token    string
	http     http.Client
	attempts uint
	timeout  time.Duration
}

// Option changes what New makes.
type Option func(*Client)

// WithToken sets the bearer token: one of `coffer token create`, or a JWT of the issuer that the server knows.
func WithToken(token string) Option { return func(c *Client) { c.token = strings.TrimSpace(token) } }

// WithHTTPClient sets what requests are sent with, for certificates and proxies of one's own. It is copied; redirects are never
// followed, because the API has none and a token or a value must not go elsewhere.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = *h } }

// WithAttempts sets how often a request is sent at most where sending it again is safe; 4 if not set, 1 is never again.
func WithAttempts(n uint) Option { return func(c *Client) { c.attempts = max(n, 1) } }

// WithTimeout bounds one attempt, its bodies included; a minute if not set. The context of a call bounds all attempts and the pauses between
// them. A value that is read as a stream is bounded until it begins, one that is written as a stream by the context alone.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// New makes a client of the server at baseURL, such as https://coffer.example. It fails for what is no such URL.
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
