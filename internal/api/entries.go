package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/format"
)

// putEntry seals the body and stores it under the key.
func (s *server) putEntry(c *call) error {
	item, err := parseItem(c)
	if err != nil {
		return err
	}
	condition, err := parseWriteCondition(c.Request().Header)
	if err != nil {
		return err
	}
	c.class = item.Class
	if item.Value, err = s.body(c); err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	sealed, err := c.cache.Seal(ctx, c.memory.buffer(len(item.Value)+packageOverhead), &item)
	use := keyUse{action: audit.KeySeal, class: item.Class, keyID: sealed.KeyID, name: item.Key, context: item.Context, err: err}
	if err := s.recordUse(c, use); err != nil {
		return err
	}
	if err := c.cache.Put(ctx, &sealed, condition); err != nil {
		return s.recordForeign(c, audit.EntryRead, item.Key, err)
	}
	header := c.Response().Header()
	header.Set("Etag", etag(sealed.Tag, false))
	setTTLHeader(header, sealed.TTL)
	return c.NoContent(http.StatusNoContent)
}

// getEntry sends the value under the key or, for Accept: application/vnd.coffer.package, its package.
func (s *server) getEntry(c *call) error {
	q, err := parseEntryQuery(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	pkg, entry, notModified, err := s.findEntry(ctx, c, &q)
	if err != nil {
		return err
	}
	if notModified {
		return writeNotModified(c, entry.Tag, q.wantsPackage)
	}
	if q.wantsPackage {
		err = s.verifyPackage(ctx, c, &q, pkg, &entry)
	} else {
		entry, err = s.openEntry(ctx, c, &q, pkg, &entry)
	}
	if err != nil {
		return err
	}
	header := c.Response().Header()
	context := setEntryHeaders(header, &entry, q.wantsPackage, q.contextInBody)
	body, mediaType := entry.Value, contentType(&entry)
	if q.wantsPackage {
		body, mediaType = pkg, packageType
	}
	header.Set(echo.HeaderContentType, mediaType)
	if q.contextInBody {
		return write(c, http.StatusOK, []byte(context), body)
	}
	return write(c, http.StatusOK, body)
}

// headEntry sends the header of the package under the key.
func (s *server) headEntry(c *call) error {
	q, err := parseEntryQuery(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	pkg, entry, notModified, err := s.findEntry(ctx, c, &q)
	if err != nil {
		return err
	}
	if notModified {
		return writeNotModified(c, entry.Tag, q.wantsPackage)
	}
	left, err := c.cache.TTL(ctx, q.key)
	if err != nil {
		return err
	}
	if err := s.verifyPackage(ctx, c, &q, pkg, &entry); err != nil {
		return err
	}
	header := c.Response().Header()
	setEntryHeaders(header, &entry, q.wantsPackage, false)
	setTTLHeader(header, left)
	switch {
	case q.wantsPackage:
		header.Set(echo.HeaderContentType, packageType)
		setLength(header, len(pkg))
	case entry.Type == format.Bytes:
		header.Set(echo.HeaderContentType, echo.MIMEOctetStream)
		setLength(header, entry.Size)
	}
	c.Response().WriteHeader(http.StatusOK)
	return nil
}

// findEntry reads the package that a request is about. The size of the package is checked and its header is well formed, but it
// is not authenticated yet. findEntry also reports whether the client has this entry already.
func (s *server) findEntry(ctx context.Context, c *call, q *entryQuery) (pkg []byte, entry cache.Entry, notModified bool, err error) {
	if s.unencrypted && q.wantsPackage {
		return nil, entry, false, errUnencrypted
	}
	pkg, entry, err = c.cache.Package(ctx, q.key)
	s.countLookup(err)
	if err != nil {
		return nil, entry, false, s.recordForeign(c, audit.EntryRead, q.key, q.condition.checkMissing(err))
	}
	c.class = entry.Class
	if entry.Class.CheckMin(q.minClass) != nil {
		return pkg, entry, false, nil // the class is not authenticated yet: opening the package decides
	}
	notModified, err = q.condition.check(entry.Tag)
	return pkg, entry, notModified, err
}

// countLookup counts a hit or a miss of the cache.
func (s *server) countLookup(err error) {
	switch {
	case err == nil:
		s.metrics.Lookups(1, 0)
	case errors.Is(err, cache.ErrNotFound):
		s.metrics.Lookups(0, 1)
	}
}

// openEntry opens a package and records that. If it does not open, the record has what its header claims.
func (s *server) openEntry(ctx context.Context, c *call, q *entryQuery, pkg []byte, found *cache.Entry) (cache.Entry, error) {
	entry, err := c.cache.Open(ctx, c.memory.buffer(len(pkg)), q.key, pkg, cache.MinClass(q.minClass))
	return entry, s.recordUse(c, keyUse{
		action: audit.KeyOpen, class: found.Class, keyID: found.KeyID, name: q.key, context: found.Context, err: err,
	})
}

// verifyPackage opens a package whose bytes or header will be sent, discards the value and records the read. So a package that
// was altered or copied from another tenant is refused and raises the alarm, as if its value were read.
func (s *server) verifyPackage(ctx context.Context, c *call, q *entryQuery, pkg []byte, found *cache.Entry) error {
	_, err := c.cache.Open(ctx, c.memory.buffer(len(pkg)), q.key, pkg, cache.MinClass(q.minClass))
	return s.recordUse(c, keyUse{
		action: audit.EntryRead, class: found.Class, keyID: found.KeyID, name: q.key, context: found.Context, err: err,
	})
}

// patchEntry sets the time to live of an entry.
func (s *server) patchEntry(c *call) error {
	key, err := parseKey(c)
	if err != nil {
		return err
	}
	ttl, err := parseNewTTL(c)
	if err != nil {
		return err
	}
	condition, err := parseChangeCondition(c.Request().Header)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	if err := s.recordUse(c, keyUse{action: audit.EntryExpire, name: key}); err != nil {
		return err
	}
	entry, err := c.cache.Expire(ctx, key, ttl, condition)
	c.class = entry.Class
	if err != nil {
		return s.recordForeign(c, audit.EntryExpire, key, err)
	}
	c.Response().Header().Set("Etag", etag(entry.Tag, false))
	setTTLHeader(c.Response().Header(), ttl)
	return c.NoContent(http.StatusNoContent)
}

// deleteEntry deletes the entry under the key. It returns cache.ErrNotFound if there is no entry.
func (s *server) deleteEntry(c *call) error {
	key, err := parseKey(c)
	if err != nil {
		return err
	}
	if err := parseNoQuery(c); err != nil {
		return err
	}
	condition, err := parseChangeCondition(c.Request().Header)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	if err := s.recordUse(c, keyUse{action: audit.EntryDelete, name: key}); err != nil {
		return err
	}
	if err := c.cache.Remove(ctx, key, condition); err != nil {
		return s.recordForeign(c, audit.EntryDelete, key, err)
	}
	return c.NoContent(http.StatusNoContent)
}

// listEntries sends a page of the tenant's keys. The audit log gets their number and the hash of the prefix.
func (s *server) listEntries(c *call) error {
	q, err := parseListQuery(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	keys, next, err := c.cache.List(ctx, q.prefix, q.cursor, q.pageSize)
	if err != nil {
		return err
	}
	s.charge(c, len(keys)/keysPerCharge)
	if !s.unencrypted {
		e := c.event(audit.EntryList)
		e.Name, e.Facts = q.prefix, audit.Facts{audit.FactDone: strconv.Itoa(len(keys))}
		if err := s.recordEvents(c, e); err != nil {
			return err
		}
	}
	return writeJSON(c, http.StatusOK, struct {
		Keys   []string `json:"keys"`
		Cursor string   `json:"cursor,omitempty"`
	}{append([]string{}, keys...), formatCursor(next)})
}
