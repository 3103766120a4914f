package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// packageType is the media type of a package as it lies at rest (SPEC.md section 3).
const packageType = "application/vnd.coffer.package"

// timeLayout is RFC 3339 to the millisecond.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// putEntry seals the body under the key: PUT /v1/cache/{key}?class=phi&ttl=1h.
func (s *server) putEntry(c *call) error {
	item, err := readItem(c)
	if err != nil {
		return err
	}
	condition, err := writeCondition(c.Request().Header)
	if err != nil {
		return err
	}
	c.class = item.Class
	if item.Value, err = s.body(c); err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	sealed, err := s.put(ctx, c, &item, condition)
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("Etag", etag(sealed.Tag, false))
	describeTTL(header, sealed.TTL)
	return c.NoContent(http.StatusNoContent)
}

// put seals an item, records that, and stores it.
func (s *server) put(ctx context.Context, c *call, item *cache.Item, condition cache.Condition) (cache.Sealed, error) {
	sealed, err := c.tenant.cache.Seal(c.room(len(item.Value)+roomAround), item)
	u := use{action: audit.KeySeal, class: item.Class, keyID: sealed.KeyID, name: item.Key, context: item.Context, err: err}
	if err := s.record(c, u); err != nil {
		return sealed, err
	}
	return sealed, s.recordUnsound(c, audit.EntryRead, item.Key, c.tenant.cache.Put(ctx, &sealed, condition))
}

// readItem reads what a write says of its value, before the value is read.
func readItem(c *call) (item cache.Item, err error) {
	if item.Key, err = key(c); err != nil {
		return item, err
	}
	values, err := query(c, "class", "ttl")
	if err != nil {
		return item, err
	}
	if item.Class, err = class(values); err != nil {
		return item, err
	}
	if item.TTL, err = ttl(values); err != nil {
		return item, err
	}
	if item.MediaType, err = mediaType(c.Request().Header.Get(echo.HeaderContentType)); err != nil {
		return item, err
	}
	item.Context, err = parseContext(c.Request().Header[contextHeader])
	return item, err
}

// mediaType takes what can stand in the header of an answer.
func mediaType(text string) (string, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return "", invalid("the content type is not printable ASCII")
		}
	}
	switch {
	case len(text) > format.MaxMediaType:
		return "", format.ErrTooLarge
	case text == echo.MIMEOctetStream:
		return "", nil // contentType is that
	}
	return text, nil
}

// wanted is what a read says.
type wanted struct {
	name       string
	minClass   classify.Class // the lowest class that it accepts
	conditions reading

	contextInBody bool // the context is the beginning of the body
}

func readWanted(c *call) (w wanted, err error) {
	if w.name, err = key(c); err != nil {
		return w, err
	}
	allowed := []string{"min_class", "context"}
	if c.Request().Method == http.MethodHead {
		allowed = allowed[:1] // the answer has no body
	}
	values, err := query(c, allowed...)
	if err != nil {
		return w, err
	}
	if w.contextInBody = values.Get("context") == "body"; values.Has("context") && !w.contextInBody {
		return w, invalid("the only place to ask for the context is ?context=body")
	}
	if w.minClass, err = minClass(values); err != nil {
		return w, err
	}
	w.conditions, err = readConditions(c.Request().Header)
	return w, err
}

// getEntry answers the value, or for Accept: application/vnd.coffer.package the package that holds it.
func (s *server) getEntry(c *call) error {
	w, err := readWanted(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	pkg, entry, had, err := s.find(ctx, c, &w)
	if err != nil {
		return err
	}
	header, atRest := c.Response().Header(), wantsPackage(c.Request())
	if had {
		return notModified(c, entry.Tag, atRest)
	}
	if atRest {
		err = s.checkPackage(c, &w, pkg, &entry)
	} else {
		entry, err = s.open(c, &w, pkg, &entry)
	}
	if err != nil {
		return err
	}
	context := describeEntry(header, &entry, atRest, w.contextInBody)
	body, kind := entry.Value, contentType(&entry)
	if atRest {
		body, kind = pkg, packageType
	}
	header.Set(echo.HeaderContentType, kind)
	if w.contextInBody {
		return write(c, http.StatusOK, []byte(context), body)
	}
	return write(c, http.StatusOK, body)
}

// find gives the package that a read is about, its bytes bounded and well formed but not authenticated, and
// whether the client has it.
func (s *server) find(ctx context.Context, c *call, w *wanted) (pkg []byte, entry cache.Entry, had bool, err error) {
	if s.unencrypted && wantsPackage(c.Request()) {
		return nil, entry, false, errUnencrypted
	}
	pkg, entry, err = c.tenant.cache.Package(ctx, w.name)
	s.countLookup(err)
	if err != nil {
		return nil, entry, false, s.recordUnsound(c, audit.EntryRead, w.name, w.conditions.missing(err))
	}
	c.class = entry.Class
	if entry.Class.CheckMin(w.minClass) != nil {
		return pkg, entry, false, nil // the class is not authentic yet: opening it decides
	}
	had, err = w.conditions.of(entry.Tag)
	return pkg, entry, had, err
}

// countLookup counts a hit or a miss.
func (s *server) countLookup(err error) {
	switch {
	case err == nil:
		s.metrics.Lookups(1, 0)
	case errors.Is(err, cache.ErrNotFound):
		s.metrics.Lookups(0, 1)
	}
}

// open opens a package and records that, with what the package said of itself where it does not open.
func (s *server) open(c *call, w *wanted, pkg []byte, found *cache.Entry) (cache.Entry, error) {
	entry, err := c.tenant.cache.Open(c.room(len(pkg)), w.name, pkg, cache.MinClass(w.minClass))
	return entry, s.record(c, use{
		action: audit.KeyOpen, class: found.Class, keyID: found.KeyID, name: w.name, context: found.Context, err: err,
	})
}

// checkPackage opens a package that is about to be answered, or described, and drops the value. It records the read. A package of another
// tenant, or one that was altered, is refused and raises the alarm, as if its value were read.
func (s *server) checkPackage(c *call, w *wanted, pkg []byte, found *cache.Entry) error {
	_, err := c.tenant.cache.Open(c.room(len(pkg)), w.name, pkg, cache.MinClass(w.minClass))
	return s.record(c, use{action: audit.EntryRead, class: found.Class, keyID: found.KeyID, name: w.name, context: found.Context, err: err})
}

func notModified(c *call, tag string, atRest bool) error {
	header := c.Response().Header()
	header.Set("Etag", etag(tag, atRest))
	header.Add(echo.HeaderVary, echo.HeaderAccept)
	c.Response().WriteHeader(http.StatusNotModified)
	return nil
}

// headEntry answers what the package's header says.
func (s *server) headEntry(c *call) error {
	w, err := readWanted(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	pkg, entry, had, err := s.find(ctx, c, &w)
	if err != nil {
		return err
	}
	atRest := wantsPackage(c.Request())
	if had {
		return notModified(c, entry.Tag, atRest)
	}
	left, err := c.tenant.cache.TTL(ctx, w.name)
	if err != nil {
		return err
	}
	if err := s.checkPackage(c, &w, pkg, &entry); err != nil {
		return err
	}
	header := c.Response().Header()
	describeEntry(header, &entry, atRest, false)
	describeTTL(header, left)
	switch {
	case atRest:
		header.Set(echo.HeaderContentType, packageType)
		setLength(header, len(pkg))
	case entry.Type == format.Bytes:
		header.Set(echo.HeaderContentType, echo.MIMEOctetStream)
		setLength(header, entry.Size)
	}
	c.Response().WriteHeader(http.StatusOK)
	return nil
}

// patchEntry changes how long an entry is kept.
func (s *server) patchEntry(c *call) error {
	name, err := key(c)
	if err != nil {
		return err
	}
	d, err := newTTL(c)
	if err != nil {
		return err
	}
	condition, err := changeCondition(c.Request().Header)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	if err := s.record(c, use{action: audit.EntryExpire, name: name}); err != nil {
		return err
	}
	entry, err := c.tenant.cache.Expire(ctx, name, d, condition)
	c.class = entry.Class
	if err != nil {
		return s.recordUnsound(c, audit.EntryExpire, name, err)
	}
	c.Response().Header().Set("Etag", etag(entry.Tag, false))
	describeTTL(c.Response().Header(), d)
	return c.NoContent(http.StatusNoContent)
}

// deleteEntry removes what is under the key; nothing there is not_found.
func (s *server) deleteEntry(c *call) error {
	name, err := key(c)
	if err != nil {
		return err
	}
	if _, err := query(c); err != nil {
		return err
	}
	condition, err := changeCondition(c.Request().Header)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	if err := s.record(c, use{action: audit.EntryDelete, name: name}); err != nil {
		return err
	}
	if err := c.tenant.cache.Remove(ctx, name, condition); err != nil {
		return s.recordUnsound(c, audit.EntryDelete, name, err)
	}
	return c.NoContent(http.StatusNoContent)
}
