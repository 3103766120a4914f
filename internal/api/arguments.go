package api

import (
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// This file has the arguments of all operations in the path and the query. JSON bodies are in bodyarguments.go.

const (
	cachePath     = "/v1/cache/"
	sessionHeader = "Coffer-Session"

	defaultPageSize   = 100
	maxPageSize       = 1000
	maxCursor         = 4096
	defaultSessionTTL = time.Hour
)

var (
	errTTL    = invalid("the ttl is not valid: write it like 90s, 15m, 1h30m or 7d, or in whole seconds, above 0")
	errCursor = invalid("the cursor is not one that the server returned")
)

// parseKey returns the key of an entry: the percent-decoded rest of the path, which is UTF-8 and may contain slashes.
func parseKey(c *call) (string, error) {
	key := strings.TrimPrefix(c.Request().URL.Path, cachePath)
	switch {
	case key == "":
		return "", invalid("the key is missing: /v1/cache/{key}")
	case len(key) > format.MaxName:
		return "", format.ErrTooLarge
	case !utf8.ValidString(key):
		return "", invalid("the key is not valid UTF-8")
	}
	return key, nil
}

// parseSessionID returns the id of a session from its header. It is not in the path because proxies log paths.
func parseSessionID(c *call) (string, error) {
	ids := c.Request().Header[sessionHeader]
	if len(ids) != 1 || !sessionID.MatchString(ids[0]) {
		return "", invalid("the header Coffer-Session must be the session's id: 43 characters of base64url")
	}
	return ids[0], nil
}

var sessionID = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// parseQuery parses the query. Each parameter may occur once. Unknown parameters are refused, so that a misspelt class or ttl
// is not ignored.
func parseQuery(c *call, allowed ...string) (url.Values, error) {
	text := c.Request().URL.RawQuery
	if text == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(text)
	if err != nil {
		return nil, invalid("the query cannot be parsed")
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) {
			return nil, invalid("unknown query parameter; known here: " + strings.Join(allowed, ", "))
		}
		if len(values) != 1 {
			return nil, invalid("the query has the same parameter twice")
		}
	}
	return query, nil
}

// parseNoQuery refuses a query with parameters.
func parseNoQuery(c *call) error {
	_, err := parseQuery(c)
	return err
}

// parseMinClass returns the lowest class that a reader accepts. 0 accepts every class.
func parseMinClass(query url.Values) (classify.Class, error) {
	if !query.Has("min_class") {
		return 0, nil
	}
	return classify.Parse(query.Get("min_class"))
}

// parseDuration parses a time to live.
func parseDuration(text string) (time.Duration, error) {
	d, err := duration.Parse(text)
	if err != nil {
		var seconds int64
		if seconds, err = strconv.ParseInt(text, 10, 64); seconds > 0 && seconds <= math.MaxInt64/int64(time.Second) {
			d = time.Duration(seconds) * time.Second
		}
	}
	if err != nil || d <= 0 {
		return 0, errTTL
	}
	return d, nil
}

// parseNewTTL returns the time to live of a request that changes only that.
func parseNewTTL(c *call) (time.Duration, error) {
	query, err := parseQuery(c, "ttl")
	if err != nil {
		return 0, err
	}
	if !query.Has("ttl") {
		return 0, invalid("the ttl is missing: ?ttl=25m")
	}
	return parseDuration(query.Get("ttl"))
}

// parseItem returns the arguments of a write. The value is not read yet.
func parseItem(c *call) (item cache.Item, err error) {
	if item.Key, err = parseKey(c); err != nil {
		return item, err
	}
	query, err := parseQuery(c, "class", "ttl")
	if err != nil {
		return item, err
	}
	if !query.Has("class") {
		return item, invalid("the class is missing: ?class=public, internal, confidential, pii or phi")
	}
	if item.Class, err = classify.Parse(query.Get("class")); err != nil {
		return item, err
	}
	if query.Has("ttl") {
		if item.TTL, err = parseDuration(query.Get("ttl")); err != nil {
			return item, err
		}
	}
	if item.MediaType, err = parseMediaType(c.Request().Header.Get(echo.HeaderContentType)); err != nil {
		return item, err
	}
	item.Context, err = parseContext(c.Request().Header[contextHeader])
	return item, err
}

// entryQuery has the arguments of a read of an entry.
type entryQuery struct {
	key           string
	minClass      classify.Class
	condition     readCondition
	wantsPackage  bool
	contextInBody bool // the body starts with the context
}

func parseEntryQuery(c *call) (q entryQuery, err error) {
	if q.key, err = parseKey(c); err != nil {
		return q, err
	}
	allowed := []string{"min_class", "context"}
	if c.Request().Method == http.MethodHead {
		allowed = allowed[:1] // the response has no body
	}
	query, err := parseQuery(c, allowed...)
	if err != nil {
		return q, err
	}
	if q.contextInBody = query.Get("context") == "body"; query.Has("context") && !q.contextInBody {
		return q, invalid("the parameter context can only be body: ?context=body")
	}
	if q.minClass, err = parseMinClass(query); err != nil {
		return q, err
	}
	q.wantsPackage = acceptsPackage(c.Request())
	q.condition, err = parseReadCondition(c.Request().Header)
	return q, err
}

// parsePageSize returns the number of items on a page.
func parsePageSize(query url.Values) (int, error) {
	if !query.Has("limit") {
		return defaultPageSize, nil
	}
	size, err := strconv.Atoi(query.Get("limit"))
	if err != nil || size < 1 || size > maxPageSize {
		return 0, invalid("the limit is a whole number from 1 to 1000")
	}
	return size, nil
}

// parseCursor returns the cursor of the page before, or an empty string for the first page.
func parseCursor(query url.Values) (string, error) {
	cursor, err := base64.RawURLEncoding.Strict().DecodeString(query.Get("cursor"))
	if err != nil || len(query.Get("cursor")) > maxCursor || query.Has("cursor") && len(cursor) == 0 {
		return "", errCursor
	}
	return string(cursor), nil
}

func formatCursor(next string) string { return base64.RawURLEncoding.EncodeToString([]byte(next)) }

// listQuery has the arguments of a list of keys.
type listQuery struct {
	prefix, cursor string
	pageSize       int
}

func parseListQuery(c *call) (q listQuery, err error) {
	query, err := parseQuery(c, "prefix", "cursor", "limit")
	if err != nil {
		return q, err
	}
	q.prefix = query.Get("prefix")
	if !utf8.ValidString(q.prefix) {
		return q, invalid("the prefix is not valid UTF-8")
	}
	if len(q.prefix) > format.MaxName {
		return q, format.ErrTooLarge
	}
	if q.pageSize, err = parsePageSize(query); err != nil {
		return q, err
	}
	q.cursor, err = parseCursor(query)
	return q, err
}

// keysetQuery has the arguments of a list of keysets.
type keysetQuery struct {
	tenant      *string // nil if the request names no tenant
	afterTenant string  // last tenant of the page before
	pageSize    int
}

func parseKeysetQuery(c *call) (q keysetQuery, err error) {
	query, err := parseQuery(c, "tenant", "cursor", "limit")
	if err != nil {
		return q, err
	}
	q.tenant = optional(query, "tenant")
	if q.pageSize, err = parsePageSize(query); err != nil {
		return q, err
	}
	q.afterTenant, err = parseCursor(query)
	if err == nil && q.afterTenant != "" && !identity.ValidTenant(q.afterTenant) {
		err = errCursor
	}
	return q, err
}

func optional(query url.Values, name string) *string {
	if !query.Has(name) {
		return nil
	}
	value := query.Get(name)
	return &value
}

// parseEventQuery returns the arguments of a list of events, without the tenant.
func parseEventQuery(c *call) (q audit.Query, tenant *string, err error) {
	query, err := parseQuery(c, "tenant", "action", "severity", "class", "since", "cursor", "limit")
	if err != nil {
		return q, nil, err
	}
	if q.Limit, err = parsePageSize(query); err != nil {
		return q, nil, err
	}
	q.Action = query.Get("action")
	if query.Has("severity") {
		known := false
		if q.Severity, known = audit.ParseSeverity(query.Get("severity")); !known {
			return q, nil, invalid("the severity is info, notice, warning or critical")
		}
	}
	if query.Has("class") {
		class, err := classify.Parse(query.Get("class"))
		if err != nil {
			return q, nil, err
		}
		q.Class = class.String()
	}
	if query.Has("since") {
		if q.Since, err = time.Parse(time.RFC3339, query.Get("since")); err != nil {
			return q, nil, invalid("since is not a time of RFC 3339, such as 2025-01-15T12:00:00Z")
		}
	}
	if query.Has("cursor") {
		if q.From, err = audit.ParseHeads(query.Get("cursor")); err != nil {
			return q, nil, errCursor
		}
	}
	return q, optional(query, "tenant"), nil
}
