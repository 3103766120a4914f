package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

const packageType = "application/vnd.coffer.package"

// Info is the header of an entry's package.
type Info struct {
	Class       classify.Class
	KeyID       string // 64 hexadecimal digits
	EncryptedAt time.Time
	Context     map[string]string
	ETag        string // identifies this write of the entry
	ContentType string // the media type that the value was stored with; empty in the result of Head
}

// Entry is a value of the cache.
type Entry struct {
	Info
	Value []byte
}

// Stored is the result of a write.
type Stored struct {
	ETag string        // identifies this write of the entry
	TTL  time.Duration // time until the entry expires; 0 means that it does not expire
}

func entryRequest(method, key string) *request {
	return newRequest(method, "/v1/cache/").appendKey(key)
}

// Set stores a value under a key, in place of an earlier value. The server seals it.
func (c *Client) Set(ctx context.Context, key string, value []byte, class classify.Class, options ...WriteOption) (Stored, error) {
	r := entryRequest(http.MethodPut, key)
	r.body = value
	return c.set(ctx, r, class, options)
}

// SetStream is Set for a value of up to 64 MiB that is read while it is sent. It is not retried, because value can be read only
// once. If value fails, the error wraps its error. The transport may still read value for a moment after SetStream has returned
// an error.
func (c *Client) SetStream(ctx context.Context, key string, value io.Reader, class classify.Class, options ...WriteOption) (Stored, error) {
	r := entryRequest(http.MethodPut, key)
	if value == nil {
		r.fail(invalid("the value is nil", nil))
	} else {
		r.stream = &valueReader{Reader: value}
	}
	return c.set(ctx, r, class, options)
}

func (c *Client) set(ctx context.Context, r *request, class classify.Class, options []WriteOption) (stored Stored, err error) {
	r.setClass("class", class)
	for _, option := range options {
		option.onWrite(r)
	}
	err = c.send(ctx, r, stored.read)
	return stored, err
}

func (s *Stored) read(response *http.Response, _ []byte) error {
	ttl, err := parseTTL(response)
	*s = Stored{ETag: response.Header.Get("ETag"), TTL: ttl}
	return err
}

// Get returns the value under a key. The server opens it. Get returns ErrNotFound if there is no entry, and ErrNotModified for
// IfNoneMatch.
func (c *Client) Get(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	return c.get(ctx, key, "*/*", options)
}

// GetPackage returns the sealed package under a key, in the binary form of SPEC.md section 3. The server refuses a package that
// does not open, as for Get.
func (c *Client) GetPackage(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	return c.get(ctx, key, packageType, options)
}

func (c *Client) get(ctx context.Context, key, accept string, options []ReadOption) (entry Entry, err error) {
	r := readRequest(http.MethodGet, key, options)
	r.header.Set("Accept", accept)
	err = c.sendRead(ctx, r, func(response *http.Response, body []byte) (err error) {
		entry.Value = body
		entry.Info, err = parseInfo(response)
		return err
	})
	return entry, err
}

// GetStream is Get for a value that is read as a stream. The caller must close it. A read that has started is not retried: after
// an error, the value that was read is not complete.
func (c *Client) GetStream(ctx context.Context, key string, options ...ReadOption) (value io.ReadCloser, info Info, err error) {
	r := readRequest(http.MethodGet, key, options)
	r.streams = true
	err = c.sendRead(ctx, r, func(response *http.Response, _ []byte) (err error) {
		value = response.Body
		info, err = parseInfo(response)
		return err
	})
	return value, info, err
}

// Head returns the header of an entry's package and the time until the entry expires. 0 means that it does not expire. The server
// refuses a package that does not open, as for Get.
func (c *Client) Head(ctx context.Context, key string, options ...ReadOption) (info Info, ttl time.Duration, err error) {
	long := false
	err = c.send(ctx, readRequest(http.MethodHead, key, options), func(response *http.Response, _ []byte) (err error) {
		long = hasLongContext(response)
		if ttl, err = parseTTL(response); err == nil {
			info, err = parseInfo(response)
		}
		return err
	})
	if err == nil && long {
		r := readRequest(http.MethodGet, key, options)
		r.streams = true
		r.header.Set("Accept", packageType)
		err = c.sendWithContext(ctx, r, func(response *http.Response, _ []byte) (err error) {
			info, err = parseInfo(response)
			return errors.Join(err, response.Body.Close())
		})
	}
	info.ContentType = ""
	return info, ttl, err
}

// hasLongContext reports whether the entry's context is too long for a header.
func hasLongContext(response *http.Response) bool {
	return response.Header.Get(contextLengthHeader) != ""
}

// sendRead sends a read of an entry. If the context is too long for a header, sendRead asks for it in the body.
func (c *Client) sendRead(ctx context.Context, r *request, read func(*http.Response, []byte) error) error {
	long := false
	err := c.send(ctx, r, func(response *http.Response, body []byte) error {
		if long = hasLongContext(response); !long {
			return read(response, body)
		}
		return response.Body.Close()
	})
	if err != nil || !long {
		return err
	}
	return c.sendWithContext(ctx, r, read)
}

// sendWithContext sends a read whose response has the context before the value. It gives read a response with the context as a
// header.
func (c *Client) sendWithContext(ctx context.Context, r *request, read func(*http.Response, []byte) error) error {
	r.query.Set("context", "body")
	return c.send(ctx, r, func(response *http.Response, body []byte) error {
		n, err := strconv.Atoi(response.Header.Get(contextLengthHeader))
		if err != nil || n < 0 || n > maxContext || !r.streams && n > len(body) {
			return errors.Join(notCoffer(response.StatusCode), response.Body.Close())
		}
		text := make([]byte, n)
		if r.streams {
			if _, err := io.ReadFull(response.Body, text); err != nil {
				return errors.Join(err, response.Body.Close())
			}
		} else {
			body = body[copy(text, body):]
		}
		response.Header.Set(contextHeader, string(text))
		return read(response, body)
	})
}

func readRequest(method, key string, options []ReadOption) *request {
	r := entryRequest(method, key)
	for _, option := range options {
		option.onRead(r)
	}
	return r
}

// Expire makes an entry expire after ttl from now, which must be at most the time that its class allows. It returns ErrNotFound if
// there is no entry.
func (c *Client) Expire(ctx context.Context, key string, ttl time.Duration, conditions ...Condition) (stored Stored, err error) {
	r := entryRequest(http.MethodPatch, key)
	r.setTTL(ttl)
	for _, condition := range conditions {
		condition.onWrite(r)
	}
	err = c.send(ctx, r, stored.read)
	return stored, err
}

// Delete deletes an entry. It returns ErrNotFound if there is no entry.
func (c *Client) Delete(ctx context.Context, key string, conditions ...Condition) error {
	r := entryRequest(http.MethodDelete, key)
	for _, condition := range conditions {
		condition.onWrite(r)
	}
	return c.send(ctx, r, ignore)
}

type keyPage struct {
	Keys   []string `json:"keys"`
	Cursor string   `json:"cursor,omitempty"`
}

// List yields the keys that start with prefix, in no particular order. A key may be repeated. The iteration ends after an error.
func (c *Client) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page := (keyPage{}); ; {
			r := newRequest(http.MethodGet, "/v1/cache")
			r.query.Set("prefix", prefix)
			if page.Cursor != "" {
				r.query.Set("cursor", page.Cursor)
			}
			page = keyPage{}
			if err := c.send(ctx, r, decode(&page)); err != nil {
				yield("", err)
				return
			}
			for _, key := range page.Keys {
				if !yield(key, nil) {
					return
				}
			}
			if page.Cursor == "" {
				return
			}
		}
	}
}

// parseInfo returns the header of an entry's package from the headers of the response.
func parseInfo(response *http.Response) (info Info, err error) {
	header := response.Header
	info = Info{KeyID: header.Get("Coffer-Key-Id"), ETag: header.Get("ETag"), ContentType: header.Get("Content-Type")}
	info.Class, err = classify.Parse(header.Get("Coffer-Class"))
	if err == nil {
		info.EncryptedAt, err = time.Parse(time.RFC3339, header.Get("Coffer-Encrypted-At"))
	}
	if text := header.Get(contextHeader); err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &info.Context)
	}
	if err != nil {
		return Info{}, notCoffer(response.StatusCode)
	}
	return info, nil
}
