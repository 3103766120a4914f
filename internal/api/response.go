package api

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/cache"
)

const (
	// packageType is the media type of a package in its binary form (SPEC.md section 3).
	packageType = "application/vnd.coffer.package"
	// packageSuffix ends the ETag of a package, which is another representation of the entry (RFC 9110 section 8.8.3).
	packageSuffix = "-package"
	// timeLayout is RFC 3339 with milliseconds.
	timeLayout = "2006-01-02T15:04:05.000Z07:00"
)

// write sends a whole response. Its body may have several parts. The response to HEAD has no body. The error is
// errNotReceived.
func write(c echo.Context, status int, body ...[]byte) error {
	response := c.Response()
	length := 0
	for _, part := range body {
		length += len(part)
	}
	setLength(response.Header(), length)
	response.WriteHeader(status)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	for _, part := range body {
		if _, err := response.Write(part); err != nil {
			return fmt.Errorf("%w: %w", errNotReceived, err)
		}
	}
	return nil
}

func setLength(header http.Header, n int) { header.Set(echo.HeaderContentLength, strconv.Itoa(n)) }

// writeJSON sends a JSON document. It does not escape for HTML, because the document is never part of a page.
func writeJSON(c *call, status int, document any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	return write(c, status, b.Bytes())
}

// etag returns the ETag of an entry, or of its package.
func etag(tag string, ofPackage bool) string {
	if ofPackage {
		tag += packageSuffix
	}
	return `"` + tag + `"`
}

// writeNotModified sends 304, with the ETag of the value or of its package.
func writeNotModified(c *call, tag string, ofPackage bool) error {
	header := c.Response().Header()
	header.Set("Etag", etag(tag, ofPackage))
	header.Add(echo.HeaderVary, echo.HeaderAccept)
	c.Response().WriteHeader(http.StatusNotModified)
	return nil
}

// setEntryHeaders sets the headers that describe an entry and returns the JSON of its context. Coffer-Context is not set if
// the context is empty, is too long for a header, or is part of the body. In the last two cases a header has the length of
// the JSON.
func setEntryHeaders(header http.Header, e *cache.Entry, ofPackage, contextInBody bool) (context string) {
	header.Set("Etag", etag(e.Tag, ofPackage))
	header.Add(echo.HeaderVary, echo.HeaderAccept)
	header.Set("Coffer-Class", e.Class.String())
	header.Set("Coffer-Key-Id", hex.EncodeToString(e.KeyID[:]))
	header.Set("Coffer-Encrypted-At", e.EncryptedAt.UTC().Format(timeLayout))
	if context = "{}"; len(e.Context) > 0 {
		context = formatContext(e.Context)
	}
	switch {
	case contextInBody || len(context) > maxContextHeader:
		header.Set(contextLengthHeader, strconv.Itoa(len(context)))
	case len(e.Context) > 0:
		header.Set(contextHeader, context)
	}
	return context
}

// setTTLHeader sets the seconds until the entry expires, rounded up. It sets nothing for an entry that does not expire.
func setTTLHeader(header http.Header, left time.Duration) {
	if left <= 0 {
		return
	}
	seconds := int64(left / time.Second)
	if left%time.Second >= time.Millisecond || seconds == 0 { // stores round up to a millisecond
		seconds++
	}
	header.Set("Coffer-Ttl", strconv.FormatInt(seconds, 10))
}

// contentType returns the media type of a value. The default is application/octet-stream.
func contentType(e *cache.Entry) string {
	if e.MediaType == "" {
		return echo.MIMEOctetStream
	}
	return e.MediaType
}

// entryJSON is an opened entry of the cache.
type entryJSON struct {
	Value       []byte            `json:"value"`
	ContentType string            `json:"contentType"`
	Class       string            `json:"class"`
	KeyID       string            `json:"keyId"`
	EncryptedAt string            `json:"encryptedAt"`
	Context     map[string]string `json:"context"`
}

func newEntryJSON(e *cache.Entry) *entryJSON {
	return &entryJSON{
		Value: notNilBytes(e.Value), ContentType: contentType(e), Class: e.Class.String(), KeyID: hex.EncodeToString(e.KeyID[:]),
		EncryptedAt: formatTime(e.EncryptedAt.UnixMilli()), Context: notNilMap(e.Context),
	}
}

// notNilBytes returns value, or an empty slice instead of nil, which JSON would write as null.
func notNilBytes(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// notNilMap returns context, or an empty map instead of nil, which JSON would write as null.
func notNilMap(context map[string]string) map[string]string {
	if context == nil {
		return map[string]string{}
	}
	return context
}

func formatTime(milliseconds int64) string {
	return time.UnixMilli(milliseconds).UTC().Format(timeLayout)
}

// result is the result of one operation of a batch.
type result struct {
	Status  int             `json:"status"`
	Entry   *entryJSON      `json:"entry,omitempty"`
	ETag    string          `json:"etag,omitempty"`
	Package json.RawMessage `json:"-"` // see write
	Opened  *openedJSON     `json:"opened,omitempty"`
	Code    string          `json:"code,omitempty"`
	Detail  string          `json:"detail,omitempty"`
}

// failedResult returns the result of an operation that failed, with the members of a single request's problem document.
func failedResult(err error) result {
	info, detail := describe(err)
	return result{Status: info.Status, Code: info.Code, Detail: detail}
}

// writeResults sends the n results of a batch. It asks for each result after the one before it was sent, so that they are not in
// memory together. The error is errNotReceived.
func writeResults(c *call, n int, next func(i int) result) error {
	response := c.Response()
	response.Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	encoder := json.NewEncoder(response)
	encoder.SetEscapeHTML(false)
	separator := `{"results":[`
	for i := range n {
		r := next(i)
		if _, err := io.WriteString(response, separator); err != nil {
			return fmt.Errorf("%w: %w", errNotReceived, err)
		}
		if err := r.write(response, encoder); err != nil {
			return fmt.Errorf("%w: %w", errNotReceived, err)
		}
		separator = ","
	}
	if _, err := io.WriteString(response, "]}\n"); err != nil {
		return fmt.Errorf("%w: %w", errNotReceived, err)
	}
	return nil
}

// write writes a result. A package is JSON already, so it is not encoded and not copied.
func (r *result) write(to io.Writer, encoder *json.Encoder) error {
	if r.Package == nil {
		return encoder.Encode(r)
	}
	if _, err := fmt.Fprintf(to, `{"status":%d,"package":`, r.Status); err != nil {
		return err
	}
	if _, err := to.Write(r.Package); err != nil {
		return err
	}
	_, err := io.WriteString(to, "}\n")
	return err
}
