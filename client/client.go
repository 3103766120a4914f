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
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
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
	timeout  time.Duration // of one attempt; 0 means no limit
	err      *Error        // of an option
}

// Option changes what New makes.
type Option func(*Client)

// WithToken sets the bearer token: an API token, or a JWT of the issuer that the server trusts. Spaces and line
// breaks around it are removed.
func WithToken(token string) Option {
	return func(c *Client) {
		if c.token = strings.TrimSpace(token); c.token != "" && !printable(c.token, '!') {
			c.err = invalid("the token has spaces, control characters or characters outside ASCII", nil)
		}
	}
}

// WithHTTPClient sets the HTTP client, for your own certificates and proxies. It is copied. Redirects are
// never followed: the API has none, and no token or value may go elsewhere.
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) {
		if h == nil {
			c.err = invalid("the HTTP client is nil", nil)
			return
		}
		c.http = *h
	}
}

// WithAttempts sets how often a request that is safe to repeat is sent at most. The default is 4; 1 turns retries
// off, and 0 is not valid.
func WithAttempts(n uint) Option {
	return func(c *Client) {
		if c.attempts = n; n == 0 {
			c.err = invalid("the number of attempts is 0", nil)
		}
	}
}

// WithTimeout bounds one attempt, bodies included; the default is a minute, 0 means no limit, and a negative
// duration is not valid. The context of a call bounds all attempts and the pauses between them. A value that is
// read as a stream is bounded until it begins, one that is written as a stream by the context alone.
func WithTimeout(d time.Duration) Option {
	return func(c *Client) {
		if c.timeout = d; d < 0 {
			c.err = invalid("the time-out is negative", nil)
		}
	}
}

// New makes a client for the server at baseURL, such as https://coffer.example. It returns an error of the code
// invalid_argument if baseURL is not the URL of a server, or if an option is not valid.
func New(baseURL string, options ...Option) (*Client, error) {
	if !isServer(baseURL) {
		return nil, invalid("the base URL is not one such as https://coffer.example", nil)
	}
	c := &Client{base: strings.TrimRight(baseURL, "/"), attempts: defaultAttempts, timeout: defaultTimeout}
	for _, option := range options {
		option(c)
	}
	if c.err != nil {
		return nil, c.err
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// isServer reports whether a path appended to text is the URL of an operation.
func isServer(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.ContainsAny(text, "?#") {
		return false
	}
	_, err = strconv.ParseUint(cmp.Or(u.Port(), "0"), 10, 16)
	return err == nil && u.Hostname() != ""
}

// String names the client without its token, for logs.
func (c *Client) String() string { return fmt.Sprintf("coffer client of %s", c.base) }

// GoString is String, so that %#v does not print the token either.
func (c *Client) GoString() string { return c.String() }
