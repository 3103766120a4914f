package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

const packageType = "application/vnd.coffer.package"

// Info is what a package's header says of an entry; authentic only beside an opened value.
type Info struct {
	Class       classify.Class
	KeyID       string // 64 hexadecimal digits
	EncryptedAt time.Time
	Context     map[string]string
	ETag        string // names this write of the entry
	ContentType string // as it was stored; empty from Head
}

// Entry is a value of the cache.
type Entry struct {
	Info
	Value []byte
}

// Stored says what became of a write: the entry's ETag, and how long it is kept; 0 is for ever.
type Stored struct {
	ETag string
	TTL  time.Duration
}

func entryRequest(method, key string) *request {
	return newRequest(method, "/v1/cache/").setName(key, url.PathEscape(key))
}

// Set seals a value and stores it, in place of an earlier one.
func (c *Client) Set(ctx context.Context, key string, value []byte, class classify.Class, options ...WriteOption) (Stored, error) {
	r := entryRequest(http.MethodPut, key)
	r.body = value
	return c.set(ctx, r, class, options)
}

// SetStream is Set for a value of up to 64 MiB that is read while it is sent. It is not retried, since it can
// be read only once. If value fails, the error wraps its error. The transport may still read value for a moment
// after SetStream returned an error.
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
	ttl, err := ttlOf(response)
	*s = Stored{ETag: response.Header.Get("ETag"), TTL: ttl}
	return err
}

// Get reads a value, which the server opens. It returns ErrNotFound if there is none, and ErrNotModified as
// IfNoneMatch says.
func (c *Client) Get(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	return c.get(ctx, key, "*/*", options)
}

// GetPackage reads the package as it lies at rest, sealed, in the binary form of SPEC.md section 3. The server refuses a package that
// does not open, as Get does.
func (c *Client) GetPackage(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	return c.get(ctx, key, packageType, options)
}

func (c *Client) get(ctx context.Context, key, accept string, options []ReadOption) (entry Entry, err error) {
	r := readRequest(http.MethodGet, key, options)
	r.header.Set("Accept", accept)
	err = c.sendRead(ctx, r, func(response *http.Response, body []byte) (err error) {
		entry.Value = body
		entry.Info, err = infoOf(response)
		return err
	})
	return entry, err
}

// GetStream is Get for a value that is not held in memory. The caller closes it. A read that has begun is not
// retried: after an error, what was read is not the whole value.
func (c *Client) GetStream(ctx context.Context, key string, options ...ReadOption) (value io.ReadCloser, info Info, err error) {
	r := readRequest(http.MethodGet, key, options)
	r.streams = true
	err = c.sendRead(ctx, r, func(response *http.Response, _ []byte) (err error) {
		value = response.Body
		info, err = infoOf(response)
		return err
	})
	return value, info, err
}

// Head returns the header of an entry's package, and how long the entry will be kept; 0 means no limit. The server refuses a package
// that does not open, as for Get.
func (c *Client) Head(ctx context.Context, key string, options ...ReadOption) (info Info, ttl time.Duration, err error) {
	long := false
	err = c.send(ctx, readRequest(http.MethodHead, key, options), func(response *http.Response, _ []byte) (err error) {
		long = isLong(response)
		if ttl, err = ttlOf(response); err == nil {
			info, err = infoOf(response)
		}
		return err
	})
	if err == nil && long {
		r := readRequest(http.MethodGet, key, options)
		r.streams = true
		r.header.Set("Accept", packageType)
		err = c.sendWithContext(ctx, r, func(response *http.Response, _ []byte) (err error) {
			info, err = infoOf(response)
			return errors.Join(err, response.Body.Close())
		})
	}
	info.ContentType = ""
	return info, ttl, err
}

// isLong reports whether the entry's context is too long for a header.
func isLong(response *http.Response) bool { return response.Header.Get(contextLengthHeader) != "" }

// sendRead sends a read of an entry, and sends it again if the context is too long for a header.
func (c *Client) sendRead(ctx context.Context, r *request, read func(*http.Response, []byte) error) error {
	long := false
	err := c.send(ctx, r, func(response *http.Response, body []byte) error {
		if long = isLong(response); !long {
			return read(response, body)
		}
		return response.Body.Close()
	})
	if err != nil || !long {
		return err
	}
	return c.sendWithContext(ctx, r, read)
}

// sendWithContext sends a read that is answered with the context before the value, and passes it on as a header.
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

// Expire keeps an entry for ttl from now, at most as long as its class allows. It returns ErrNotFound where
// there is none.
func (c *Client) Expire(ctx context.Context, key string, ttl time.Duration, conditions ...Condition) (stored Stored, err error) {
	r := entryRequest(http.MethodPatch, key)
	r.setTTL(ttl)
	for _, condition := range conditions {
		condition.onWrite(r)
	}
	err = c.send(ctx, r, stored.read)
	return stored, err
}

// Delete deletes an entry. It returns ErrNotFound where there is none.
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

// List yields the keys that begin with prefix, in no particular order; a key may come twice. It ends after an error.
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

func infoOf(response *http.Response) (info Info, err error) {
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
