package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	firstPause    = 200 * time.Millisecond // before the second attempt; doubled for each further one, plus or minus a half
	maxPause      = 5 * time.Second
	maxRetryAfter = time.Minute // a longer Retry-After is not waited for
	maxCall       = 5 * time.Minute
	maxBuffer     = 64 << 20 // bytes that are allocated for a response before it is received
)

// request is a request that can be sent more than once.
type request struct {
	method, path string // the path is escaped
	query        url.Values
	header       http.Header
	body         []byte
	stream       *valueReader // a body that can be read only once
	once         bool         // never retried, because a second request could have another effect
	streams      bool         // the caller reads the body of the response
	err          error        // error of an argument
}

func newRequest(method, path string) *request {
	return &request{method: method, path: path, query: url.Values{}, header: http.Header{}}
}

// withJSON sets the body to a JSON document.
func (r *request) withJSON(document any) *request {
	var err error
	if r.body, err = json.Marshal(document); err != nil {
		r.fail(invalid("the data cannot be written as JSON", err))
	}
	r.header.Set("Content-Type", "application/json")
	return r
}

// changesETag reports whether the request changes the ETag, so that an earlier attempt can make its own condition fail.
func (r *request) changesETag() bool {
	return r.method == http.MethodPut || r.method == http.MethodDelete
}

// send sends a request, and retries it if that is safe and may help. It calls read with each successful response, and with its
// body unless the caller reads it.
func (c *Client) send(ctx context.Context, r *request, read func(*http.Response, []byte) error) error {
	if r.err != nil {
		return r.err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("coffer: %w", context.Cause(ctx))
	}
	attempts, limit := c.attempts, maxCall
	if r.once || r.stream != nil {
		attempts = 1
	}
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(min(limit, time.Until(deadline)), 1) // backoff does not wait beyond it
	}
	var last, uncertain error // uncertain is the first failure after which the request may have taken effect
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = c.attempt(ctx, r, read)
		if uncertain != nil && r.changesETag() && errors.Is(last, ErrPrecondition) {
			last = uncertain
			return struct{}{}, backoff.Permanent(last)
		}
		if uncertain != nil && r.method == http.MethodDelete && errors.Is(last, ErrNotFound) {
			last = nil
		}
		var failed *Error
		if !errors.As(last, &failed) || !failed.isTransient() || failed.RetryAfter > maxRetryAfter {
			return struct{}{}, backoff.Permanent(last)
		}
		if uncertain == nil && failed.Status != http.StatusTooManyRequests {
			uncertain = last
		}
		if failed.RetryAfter > 0 {
			return struct{}{}, &backoff.RetryAfterError{Duration: failed.RetryAfter + rand.N(firstPause)}
		}
		return struct{}{}, last
	}, backoff.WithMaxTries(attempts), backoff.WithMaxElapsedTime(limit), backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: firstPause, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxPause,
	}))
	var failed *Error
	if err != nil && ctx.Err() != nil && errors.As(last, &failed) && failed.isTransient() {
		return fmt.Errorf("coffer: %w", context.Cause(ctx))
	}
	return last
}

// attempt sends a request once.
func (c *Client) attempt(parent context.Context, r *request, read func(*http.Response, []byte) error) error {
	ctx, cancel := context.WithCancel(parent)
	if r.stream == nil && c.timeout > 0 {
		timer := time.AfterFunc(c.timeout, cancel)
		defer timer.Stop()
	}
	err := c.exchange(ctx, cancel, r, read)
	if err != nil || !r.streams {
		defer cancel()
	}
	var failed *Error
	switch {
	case err == nil, errors.As(err, &failed), errors.Is(err, ErrNotModified):
		return err
	case parent.Err() == nil && ctx.Err() != nil:
		return &Error{Detail: ErrTimeout.Message, code: ErrTimeout.ErrorCode, cause: context.DeadlineExceeded}
	}
	if failed := r.stream.err(); failed != nil && parent.Err() == nil {
		return failed
	}
	var named *url.Error // its text contains the key
	if errors.As(err, &named) {
		err = named.Err
	}
	return &Error{Detail: ErrUnreachable.Message, code: ErrUnreachable.ErrorCode, cause: err}
}

func (c *Client) exchange(ctx context.Context, cancel context.CancelFunc, r *request, read func(*http.Response, []byte) error) error {
	request, err := c.prepare(ctx, r)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	if r.streams && response.StatusCode == http.StatusOK && response.Header.Get("X-Request-Id") != "" {
		response.Body = &cancelingBody{response.Body, cancel}
		return read(response, nil)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotModified {
		return ErrNotModified
	}
	if response.StatusCode/100 != 2 {
		return readError(response)
	}
	if response.Header.Get("X-Request-Id") == "" {
		return notCoffer(response.StatusCode) // from a proxy or another program
	}
	var body bytes.Buffer
	body.Grow(int(min(max(response.ContentLength, 0), maxBuffer)) + bytes.MinRead)
	if _, err := body.ReadFrom(response.Body); err != nil {
		return err
	}
	return read(response, body.Bytes())
}

func (c *Client) prepare(ctx context.Context, r *request) (*http.Request, error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.stream != nil {
		body = r.stream
	} else if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	request, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	request.Header = r.header.Clone()
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return request, nil
}

// cancelingBody is a body that cancels the request when the caller closes it.
type cancelingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (b *cancelingBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// decode returns a function that decodes a JSON response into a value.
func decode[T any](into *T) func(*http.Response, []byte) error {
	return func(response *http.Response, body []byte) error {
		if json.Unmarshal(body, into) != nil {
			return notCoffer(response.StatusCode)
		}
		return nil
	}
}

func ignore(*http.Response, []byte) error { return nil }
