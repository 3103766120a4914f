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
	firstWait    = 200 * time.Millisecond // before the second attempt, doubled each time, give or take a half
	longestWait  = 5 * time.Second
	longestAsked = time.Minute // by Retry-After
	longestCall  = 5 * time.Minute
	maxAnswer    = 64 << 20 // bytes that are allocated before they came
)

// request is an operation on its way.
type request struct {
	method, path string // the path is escaped
	query        url.Values
	header       http.Header
	body         []byte
	stream       *valueReader // a body that can be read once
	once         bool         // sent again, it would do more than sent once
	streams      bool         // the answer's body goes to the caller
	err          error        // of an argument
}

func newRequest(method, path string) *request {
	return &request{method: method, path: path, query: url.Values{}, header: http.Header{}}
}

// withJSON sets the body.
func (r *request) withJSON(document any) *request {
	var err error
	if r.body, err = json.Marshal(document); err != nil {
		r.fail(invalid("the data cannot be written as JSON", err))
	}
	r.header.Set("Content-Type", "application/json")
	return r
}

// writes reports whether the operation changes the ETag, so that its own earlier attempt can break its condition.
func (r *request) writes() bool { return r.method == http.MethodPut || r.method == http.MethodDelete }

// send sends a request, and sends it again where that is safe and may help. read gets an answer that is a
// success, with its body unless it is the caller's.
func (c *Client) send(ctx context.Context, r *request, read func(*http.Response, []byte) error) error {
	if r.err != nil {
		return r.err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("coffer: %w", context.Cause(ctx))
	}
	tries, longest := c.attempts, longestCall
	if r.once || r.stream != nil {
		tries = 1
	}
	if deadline, ok := ctx.Deadline(); ok {
		longest = max(min(longest, time.Until(deadline)), 1) // a pause that would end after it is not begun
	}
	var last, doubt error // doubt is the first failure after which nobody knows whether the request took effect
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = c.attempt(ctx, r, read)
		if doubt != nil && r.writes() && errors.Is(last, ErrPrecondition) {
			last = doubt
			return struct{}{}, backoff.Permanent(last)
		}
		if doubt != nil && r.method == http.MethodDelete && errors.Is(last, ErrNotFound) {
			last = nil
		}
		var failed *Error
		if !errors.As(last, &failed) || !failed.transient() || failed.RetryAfter > longestAsked {
			return struct{}{}, backoff.Permanent(last)
		}
		if doubt == nil && failed.Status != http.StatusTooManyRequests {
			doubt = last
		}
		if failed.RetryAfter > 0 {
			return struct{}{}, &backoff.RetryAfterError{Duration: failed.RetryAfter + rand.N(firstWait)}
		}
		return struct{}{}, last
	}, backoff.WithMaxTries(tries), backoff.WithMaxElapsedTime(longest), backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: firstWait, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: longestWait,
	}))
	var failed *Error
	if err != nil && ctx.Err() != nil && errors.As(last, &failed) && failed.transient() {
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
		return &Error{Detail: ErrTimeout.Text, code: ErrTimeout.Of, cause: context.DeadlineExceeded}
	}
	if failed := r.stream.err(); failed != nil && parent.Err() == nil {
		return failed
	}
	var named *url.Error // would name the key
	if errors.As(err, &named) {
		err = named.Err
	}
	return &Error{Detail: ErrUnreachable.Text, code: ErrUnreachable.Of, cause: err}
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
		response.Body = &endingBody{response.Body, cancel}
		return read(response, nil)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotModified {
		return ErrNotModified
	}
	if response.StatusCode/100 != 2 {
		return failureOf(response)
	}
	if response.Header.Get("X-Request-Id") == "" {
		return notCoffer(response.StatusCode) // a proxy's or another program's page
	}
	var body bytes.Buffer
	body.Grow(int(min(max(response.ContentLength, 0), maxAnswer)) + bytes.MinRead)
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

// endingBody ends the request when the caller closes it.
type endingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *endingBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// decode reads an answer in JSON.
func decode[T any](into *T) func(*http.Response, []byte) error {
	return func(response *http.Response, body []byte) error {
		if json.Unmarshal(body, into) != nil {
			return notCoffer(response.StatusCode)
		}
		return nil
	}
}

func ignore(*http.Response, []byte) error { return nil }
