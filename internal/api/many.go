package api

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/server/audit"
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
	s.charge(c, len(keys)/chargedKeys)
	if err := s.recordList(c, prefix, len(keys)); err != nil {
		return err
	}
	page.Keys, page.Cursor = append(page.Keys, keys...), base64.RawURLEncoding.EncodeToString([]byte(next))
	return answerJSON(c, http.StatusOK, page)
}

// recordList records how many names are about to be answered, and the hash of the prefix that they begin with.
func (s *server) recordList(c *call, prefix string, names int) error {
	if s.unencrypted {
		return nil
	}
	e := c.event(audit.EntryList)
	e.Name, e.Facts = prefix, audit.Facts{audit.FactDone: strconv.Itoa(names)}
	return s.recordEvents(c, []audit.Event{e})
}
