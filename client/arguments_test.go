package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/client"
	"github.com/coffer-storage/coffer/shared/classify"
)

// counter counts the requests that reach the transport.
type counter struct{ n atomic.Int32 }

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

func requireInvalid(t *testing.T, err error) {
	t.Helper()
	var failed *client.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "invalid_argument", failed.Code())
	require.NotContains(t, err.Error(), "planted")
}

func TestNewRefusesInvalidOptions(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://a?", "http://a#", "http://a:99999", "http://:80", "localhost:8080", "/api", "http://a b"} {
		t.Run(url, func(t *testing.T) {
			_, err := client.New(url)
			requireInvalid(t, err)
		})
	}
	for name, option := range map[string]client.Option{
		"token of two lines":      client.WithToken("planted\nb"),
		"token outside ASCII":     client.WithToken("planted\u2010abc"),
		"token with a space":      client.WithToken("planted b"),
		"negative time-out":       client.WithTimeout(-time.Second),
		"no attempt":              client.WithAttempts(0),
		"HTTP client that is nil": client.WithHTTPClient(nil),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.New("http://localhost", option)
			requireInvalid(t, err)
		})
	}
	_, err := client.New("http://localhost/path/", client.WithToken(" \ncoffer_abc\r\n"))
	require.NoError(t, err)
}

// Invalid arguments never reach the transport.
func TestInvalidArgumentsAreNotSent(t *testing.T) {
	t.Parallel()
	transport := &counter{}
	c, err := client.New("http://127.0.0.1:1", client.WithHTTPClient(&http.Client{Transport: transport}))
	require.NoError(t, err)
	ctx := t.Context()
	set := func(key string, options ...client.WriteOption) error {
		_, err := c.Set(ctx, key, []byte("v"), classify.PHI, options...)
		return err
	}
	get := func(key string, options ...client.ReadOption) error {
		_, err := c.Get(ctx, key, options...)
		return err
	}
	for name, call := range map[string]func() error{
		"content type of two lines":    func() error { return set("k", client.ContentType("planted\nb")) },
		"content type outside ASCII":   func() error { return set("k", client.ContentType("text/plain; name=\u0142")) },
		"ETag with a line break":       func() error { return set("k", client.IfMatch("\"planted\nb\"")) },
		"empty ETag of a write":        func() error { return set("k", client.IfMatch("")) },
		"empty ETag of a read":         func() error { return get("k", client.IfNoneMatch("")) },
		"no class":                     func() error { _, err := c.Set(ctx, "k", nil, 0); return err },
		"class that does not exist":    func() error { return get("k", client.MinClass(99)) },
		"decrypt, no such class":       func() error { _, err := c.Decrypt(ctx, client.Package{}, 99); return err },
		"TTL 0":                        func() error { return set("k", client.TTL(0)) },
		"negative TTL":                 func() error { return set("k", client.TTL(-time.Second)) },
		"expire at once":               func() error { _, err := c.Expire(ctx, "k", 0); return err },
		"session that ends before":     func() error { _, err := c.CreateSession(ctx, struct{}{}, -1); return err },
		"session extended by nothing":  func() error { _, err := c.ExtendSession(ctx, "id", 0); return err },
		"session that is not JSON":     func() error { _, err := c.CreateSession(ctx, math.NaN(), 0); return err },
		"empty key":                    func() error { return set("") },
		"empty key of a read":          func() error { return get("") },
		"empty key of a deletion":      func() error { return c.Delete(ctx, "") },
		"empty session id":             func() error { _, err := c.GetSession(ctx, ""); return err },
		"empty session id, ended":      func() error { return c.EndSession(ctx, "") },
		"key that is not UTF-8":        func() error { return get("\xff") },
		"first error of several":       func() error { return set("", client.Context(map[string]string{"a": "b"})) },
		"error before a valid context": func() error { return set("k", client.TTL(0), client.Context(nil)) },
		"stream that is nil":           func() error { _, err := c.SetStream(ctx, "k", nil, classify.PHI); return err },
	} {
		t.Run(name, func(t *testing.T) { requireInvalid(t, call()) })
	}
	ended, cancel := context.WithCancelCause(ctx)
	reason := errors.New("enough")
	cancel(reason)
	_, err = c.Get(ended, "k")
	require.ErrorIs(t, err, reason)
	require.Zero(t, transport.n.Load())
}

// An error of the caller's reader is not reported as an unreachable server.
func TestReaderErrorIsReturned(t *testing.T) {
	t.Parallel()
	url, bearer, _ := serve(t)
	transport := &counter{}
	c := connect(t, url, bearer, client.WithHTTPClient(&http.Client{Transport: transport}))
	broken := errors.New("disk error")
	_, err := c.SetStream(t.Context(), "k", io.MultiReader(strings.NewReader("v"), iotest.ErrReader(broken)), classify.PHI)
	requireInvalid(t, err)
	require.ErrorIs(t, err, broken)
	require.EqualValues(t, 1, transport.n.Load())
	_, err = c.Get(t.Context(), "k")
	require.ErrorIs(t, err, client.ErrNotFound)
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	url, bearer, _ := serve(t)
	c := connect(t, url, bearer, client.WithTimeout(0))
	for _, years := range []int{1, 69, 100, 290} {
		ttl := time.Duration(years) * 365 * 24 * time.Hour
		stored, err := c.Set(t.Context(), "k", nil, classify.Public, client.TTL(ttl))
		require.NoError(t, err)
		require.Equal(t, ttl, stored.TTL)
		_, left, err := c.Head(t.Context(), "k")
		require.NoError(t, err)
		require.InDelta(t, ttl, left, float64(time.Minute))
	}
}

// If a number of the server is out of range, the client does not replace it by 0 or an arbitrary value.
func TestInvalidNumbersOfServerAreErrors(t *testing.T) {
	t.Parallel()
	var ttl, retry atomic.Value
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("X-Request-Id", "planned")
		if wait, _ := retry.Load().(string); wait != "" {
			w.Header().Set("Retry-After", wait)
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Coffer-TTL", fmt.Sprint(ttl.Load()))
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	c := connect(t, server.URL, "token")
	for text, want := range map[string]time.Duration{
		"1": time.Second, "4294967296": 4294967296 * time.Second, "9223372037": math.MaxInt64, "99999999999999999999999": math.MaxInt64,
	} {
		ttl.Store(text)
		stored, err := c.Expire(t.Context(), "k", time.Hour)
		require.NoError(t, err)
		require.Equal(t, want, stored.TTL, text)
	}
	for _, text := range []string{"-1", "1.5", "soon"} {
		ttl.Store(text)
		_, err := c.Expire(t.Context(), "k", time.Hour)
		require.ErrorContains(t, err, "is not from a Coffer server", text)
	}
	for _, text := range []string{"61", "4294967296", "99999999999999999999999"} {
		retry.Store(text)
		requests.Store(0)
		_, err := c.Expire(t.Context(), "k", time.Hour)
		require.ErrorIs(t, err, client.ErrRateLimited)
		require.EqualValues(t, 1, requests.Load(), "nobody waits that long")
	}
}
