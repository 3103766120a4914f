package api

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/cache"
)

// describeEntry sets the headers that describe an entry. Coffer-Context is missing if the context is empty, or too long for a
// header, or wanted in the body; in the latter cases the length of its JSON is a header. describeEntry returns the JSON.
func describeEntry(header http.Header, e *cache.Entry, atRest, contextInBody bool) (context string) {
	header.Set("Etag", etag(e.Tag, atRest))
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

// describeTTL sets how long an entry is still kept, in seconds rounded up. It sets nothing for entries without a limit.
func describeTTL(header http.Header, left time.Duration) {
	if left <= 0 {
		return
	}
	seconds := int64(left / time.Second)
	if left%time.Second >= time.Millisecond || seconds == 0 { // stores round up to a millisecond
		seconds++
	}
	header.Set("Coffer-Ttl", strconv.FormatInt(seconds, 10))
}

func setLength(header http.Header, n int) { header.Set(echo.HeaderContentLength, strconv.Itoa(n)) }

// contentType is what a value is; bytes where nobody said.
func contentType(e *cache.Entry) string {
	if e.MediaType == "" {
		return echo.MIMEOctetStream
	}
	return e.MediaType
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

func describeJSON(e *cache.Entry) *entryJSON {
	return &entryJSON{
		Value: neverNull(e.Value), ContentType: contentType(e), Class: e.Class.String(), KeyID: hex.EncodeToString(e.KeyID[:]),
		EncryptedAt: formatTime(e.EncryptedAt.UnixMilli()), Context: notNil(e.Context),
	}
}

// neverNull gives bytes that JSON shows as text, be it the empty one.
func neverNull(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

func formatTime(milliseconds int64) string {
	return time.UnixMilli(milliseconds).UTC().Format(timeLayout)
}
