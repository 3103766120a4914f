package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// packageType is the media type of a package as it lies at rest (SPEC.md section 3).
const packageType = "application/vnd.coffer.package"

// timeLayout is RFC 3339 to the millisecond.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// putEntry seals the body under the key: PUT /v1/cache/{key}?class=phi&ttl=1h.
func (s *server) putEntry(c echo.Context) error {
	item, err := readItem(c)
	if err != nil {
		return err
	}
	if item.Value, err = s.body(c); err != nil {
		return err
	}
	ctx, cancel := s.limit(c)
	defer cancel()
	if err := s.cache.SetEncrypted(ctx, item.Key, item.Value, item.Class, item.TTL, item.Context); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// readItem reads what a write says of its value, before the value is read.
func readItem(c echo.Context) (item cache.Item, err error) {
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
	item.Context, err = parseContext(c.Request().Header[contextHeader])
	return item, err
}

// readWanted reads what a read says: the key, and the lowest class that it accepts.
func readWanted(c echo.Context) (name string, lowest classify.Class, err error) {
	if name, err = key(c); err != nil {
		return "", 0, err
	}
	values, err := query(c, "least")
	if err != nil {
		return "", 0, err
	}
	lowest, err = least(values)
	return name, lowest, err
}

// getEntry answers the value, or for Accept: application/vnd.coffer.package the package that holds it, unopened.
func (s *server) getEntry(c echo.Context) error {
	name, lowest, err := readWanted(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.limit(c)
	defer cancel()
	header := c.Response().Header()
	header.Set(echo.HeaderVary, echo.HeaderAccept)
	if wantsPackage(c.Request()) {
		pkg, h, err := s.stored(ctx, name, lowest)
		if err != nil {
			return err
		}
		describeHeader(header, &h)
		header.Set(echo.HeaderContentType, packageType)
		return write(c, http.StatusOK, pkg)
	}
	entry, err := s.cache.Get(ctx, name, cache.AtLeast(lowest))
	if err != nil {
		return err
	}
	describeEntry(header, &entry)
	header.Set(echo.HeaderContentType, echo.MIMEOctetStream)
	return write(c, http.StatusOK, entry.Value)
}

// headEntry answers the headers of getEntry from the package without opening it, so they are not authenticated here.
func (s *server) headEntry(c echo.Context) error {
	name, lowest, err := readWanted(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.limit(c)
	defer cancel()
	pkg, h, err := s.stored(ctx, name, lowest)
	if err != nil {
		return err
	}
	header, size := c.Response().Header(), len(pkg)
	describeHeader(header, &h)
	header.Set(echo.HeaderVary, echo.HeaderAccept)
	header.Set(echo.HeaderContentType, packageType)
	if !wantsPackage(c.Request()) {
		header.Set(echo.HeaderContentType, echo.MIMEOctetStream)
		size -= h.Size() + format.NonceSize + format.TagSize
	}
	setLength(header, size)
	c.Response().WriteHeader(http.StatusOK)
	return nil
}

// stored gives the package under a key as it lies at rest, its bytes bounded and well formed but not authenticated.
func (s *server) stored(ctx context.Context, name string, lowest classify.Class) ([]byte, format.Header, error) {
	pkg, entry, err := s.cache.Package(ctx, name)
	if err != nil {
		return nil, format.Header{}, err
	}
	if err := entry.Class.Demand(lowest); err != nil {
		return nil, format.Header{}, err
	}
	p, err := format.Parse(pkg)
	return pkg, p.Header, err
}

// deleteEntry removes what is under the key; nothing there is not_found.
func (s *server) deleteEntry(c echo.Context) error {
	name, err := key(c)
	if err != nil {
		return err
	}
	if _, err := query(c); err != nil {
		return err
	}
	ctx, cancel := s.limit(c)
	defer cancel()
	existed, err := s.cache.Delete(ctx, name)
	if err != nil {
		return err
	}
	if !existed {
		return cache.ErrNotFound
	}
	return c.NoContent(http.StatusNoContent)
}

func describeHeader(header http.Header, h *format.Header) {
	describeEntry(header, &cache.Entry{
		Class: classify.Class(h.Class), Context: h.Context.Map(), KeyID: h.KeyID, EncryptedAt: time.UnixMilli(h.EncryptedAt),
	})
}

// describeEntry writes what a package says of its value. There is no Coffer-Context where there is no context.
func describeEntry(header http.Header, e *cache.Entry) {
	header.Set("Coffer-Class", e.Class.String())
	header.Set("Coffer-Key-Id", hex.EncodeToString(e.KeyID[:]))
	header.Set("Coffer-Encrypted-At", e.EncryptedAt.UTC().Format(timeLayout))
	if len(e.Context) > 0 {
		header.Set(contextHeader, formatContext(e.Context))
	}
}

func setLength(header http.Header, n int) { header.Set(echo.HeaderContentLength, strconv.Itoa(n)) }
