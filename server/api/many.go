package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	defaultPage = 100
	maxPage     = 1000
	maxCursor   = 4096
)

var errCursor = invalid("the cursor is none that was given")

// listEntries answers a page of the tenant's keys.
func (s *server) listEntries(c *call) error {
	values, err := query(c, "prefix", "cursor", "limit")
	if err != nil {
		return err
	}
	prefix := values.Get("prefix")
	if !utf8.ValidString(prefix) {
		return invalid("the prefix is not valid UTF-8")
	}
	if len(prefix) > format.MaxName {
		return format.ErrTooLarge
	}
	limit, err := pageLimit(values)
	if err != nil {
		return err
	}
	cursor, err := pageCursor(values)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	page := struct {
		Keys   []string `json:"keys"`
		Cursor string   `json:"cursor,omitempty"`
	}{Keys: []string{}}
	keys, next, err := c.tenant.cache.List(ctx, prefix, cursor, limit)
	if err != nil {
		return err
	}
	page.Keys, page.Cursor = append(page.Keys, keys...), base64.RawURLEncoding.EncodeToString([]byte(next))
	return answerJSON(c, http.StatusOK, page)
}

// entryJSON is an entry of the cache, opened.
type entryJSON struct {
	Value       []byte            `json:"value"`
	ContentType string            `json:"contentType"`
	Class       string            `json:"class"`
	KeyID       string            `json:"keyId"`
	EncryptedAt string            `json:"encryptedAt"`
	Context     map[string]string `json:"context"`
}

// step is one operation of a batch, checked.
type step struct {
	needs identity.Scopes
	run   func(ctx context.Context) result
}

// batchEntries reads, writes and deletes many. All of the body is checked, and all scopes, before the first is done.
func (s *server) batchEntries(c *call) error {
	steps, err := s.readSteps(c)
	if err != nil {
		return err
	}
	var needed identity.Scopes
	for i := range steps {
		needed |= steps[i].needs
	}
	if err := c.id.May(needed); err != nil {
		return s.refuse(c, err)
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	results := make([]result, len(steps))
	for i := range steps {
		results[i] = steps[i].run(ctx)
	}
	return answerResults(c, results)
}

func (s *server) readSteps(c *call) ([]step, error) {
	if _, err := query(c); err != nil {
		return nil, err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return nil, err
	}
	top, err := object(text, []string{"operations"})
	if err != nil {
		return nil, err
	}
	operations, err := list(top["operations"])
	if err != nil {
		return nil, err
	}
	steps := make([]step, len(operations))
	for i, text := range operations {
		if steps[i], err = s.readStep(c, text); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

func (s *server) readStep(c *call, text json.RawMessage) (step, error) {
	all, err := object(text, []string{"op", "key"}, "least", "value", "contentType", "class", "ttl", "context")
	if err != nil {
		return step{}, err
	}
	f := fields{members: all}
	op, name := f.text("op"), f.text("key")
	switch {
	case f.err != nil:
		return step{}, f.err
	case name == "":
		return step{}, invalid("a key is missing")
	case len(name) > format.MaxName:
		return step{}, format.ErrTooLarge
	}
	switch op {
	case "get":
		return s.getStep(c, text, name)
	case "set":
		return s.setStep(c, text, name)
	case "delete":
		if _, err := object(text, []string{"op", "key"}); err != nil {
			return step{}, err
		}
		return step{identity.CacheWrite, func(ctx context.Context) result {
			if err := c.tenant.cache.Remove(ctx, name, cache.Condition{}); err != nil {
				return failed(err)
			}
			return succeeded()
		}}, nil
	}
	return step{}, invalid("an op is get, set or delete")
}

func (s *server) getStep(c *call, text json.RawMessage, name string) (step, error) {
	all, err := object(text, []string{"op", "key"}, "least")
	if err != nil {
		return step{}, err
	}
	f := fields{members: all}
	w := wanted{name: name, least: f.class("least")}
	return step{identity.CacheRead, func(ctx context.Context) result {
		pkg, entry, _, err := s.find(ctx, c, &w)
		if err == nil {
			entry, err = s.open(c, &w, pkg, &entry)
		}
		if c.class = 0; err != nil {
			return failed(err)
		}
		return result{Status: http.StatusOK, ETag: etag(entry.Tag, false), Entry: describeJSON(&entry)}
	}}, f.err
}

func describeJSON(e *cache.Entry) *entryJSON {
	return &entryJSON{
		Value: append([]byte{}, e.Value...), ContentType: contentType(e), Class: e.Class.String(), KeyID: hex.EncodeToString(e.KeyID[:]),
		EncryptedAt: formatTime(e.EncryptedAt.UnixMilli()), Context: notNil(e.Context),
	}
}

func formatTime(milliseconds int64) string {
	return time.UnixMilli(milliseconds).UTC().Format(timeLayout)
}

func (s *server) setStep(c *call, text json.RawMessage, name string) (step, error) {
	all, err := object(text, []string{"op", "key", "value", "class"}, "contentType", "ttl", "context")
	if err != nil {
		return step{}, err
	}
	f := fields{members: all}
	item := cache.Item{Key: name, Value: f.bytes("value"), Class: f.class("class"), Context: f.context("context")}
	if item.MediaType, err = mediaType(f.text("contentType")); err != nil {
		f.fail(err)
	}
	if f.has("ttl") {
		if item.TTL, err = duration(f.text("ttl")); err != nil {
			f.fail(err)
		}
	}
	return step{identity.CacheWrite, func(ctx context.Context) result {
		sealed, err := s.put(ctx, c, &item, cache.Condition{})
		if err != nil {
			return failed(err)
		}
		done := succeeded()
		done.ETag = etag(sealed.Tag, false)
		return done
	}}, f.err
}
