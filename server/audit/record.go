package audit

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	// maxText bounds each text of a line in bytes, and with it the line: who is asked for a name can make it long.
	maxText = 255
	// maxFrom bounds FactFrom: a shredding names up to 64 lines of roots, each in 32 digits and a blank.
	maxFrom = 64 * 33
)

// record is a line of the log, but for what chains it. Members are only ever added.
type Fields struct {
	Time      string            `json:"time"` // RFC 3339, UTC, to the millisecond
	Severity  Severity          `json:"severity"`
	Action    string            `json:"action"`
	Outcome   string            `json:"outcome"` // "ok", "refused", "failed" or "unknown"
	Code      string            `json:"code,omitempty"`
	RequestID string            `json:"requestId,omitempty"`
	Operation string            `json:"operation,omitempty"`
	Issuer    string            `json:"issuer,omitempty"`
	Subject   string            `json:"subject,omitempty"`
	Tenant    string            `json:"tenant,omitempty"`
	Class     string            `json:"class,omitempty"`
	KeyID     string            `json:"keyId,omitempty"`
	NameHash  string            `json:"nameHash,omitempty"`
	Context   map[string]string `json:"context,omitempty"`
	Hashes    []string          `json:"contextHashes,omitempty"` // of the other entries
	Facts     Facts             `json:"facts,omitempty"`
	Lost      uint64            `json:"lost,omitempty"` // of audit.resumed: events that may not be here
}

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// appendObject appends the event as a JSON object on a line of its own, as package json writes a record. It writes the allowed entries of
// a context as they are, and of the others a hash of key and value together, in an order that says nothing of either.
func (f *File) appendObject(dst []byte, e *Event) []byte {
	dst = append(time.Now().UTC().AppendFormat(append(dst, `{"time":"`...), timeLayout), '"')
	dst = appendText(dst, "severity", string(e.Severity()))
	dst = appendText(dst, "action", e.Action.String())
	dst = appendText(dst, "outcome", outcome(e))
	if code := e.Code; code != "" {
		if codes.Number(code) < 0 {
			code = codes.Internal
		}
		dst = appendText(dst, "code", code)
	}
	dst = appendText(dst, "requestId", e.RequestID)
	dst = appendText(dst, "operation", e.Operation)
	dst = appendText(dst, "issuer", e.Issuer)
	dst = appendText(dst, "subject", e.Subject)
	dst = appendText(dst, "tenant", e.Tenant)
	if e.Class.Valid() {
		dst = appendText(dst, "class", e.Class.String())
	}
	if e.KeyID != (format.KeyID{}) {
		dst = append(hex.AppendEncode(append(dst, `,"keyId":"`...), e.KeyID[:]), '"')
	}
	if e.Name != "" {
		dst = append(f.key.appendName(append(dst, `,"nameHash":"`...), e.Tenant, e.Name), '"')
	}
	dst = f.appendContext(dst, e)
	dst = appendFacts(dst, e.Facts)
	if e.lost > 0 {
		dst = strconv.AppendUint(append(dst, `,"lost":`...), e.lost, 10)
	}
	return append(dst, '}', '\n')
}

func (f *File) appendContext(dst []byte, e *Event) []byte {
	if len(e.Context) == 0 {
		return dst
	}
	allowed, hashes := map[string]string{}, []string(nil)
	for key, value := range e.Context {
		if slices.Contains(f.options.PlainContext, key) && len(value) <= maxText {
			allowed[key] = value
			continue
		}
		hashes = append(hashes, f.key.HashContext(e.Tenant, key, value))
	}
	if len(allowed) > 0 {
		dst = appendMember(dst, "context", allowed)
	}
	if len(hashes) > 0 {
		slices.Sort(hashes)
		dst = appendMember(dst, "contextHashes", hashes)
	}
	return dst
}

func appendFacts(dst []byte, facts Facts) []byte {
	if len(facts) == 0 {
		return dst
	}
	facts = maps.Clone(facts)
	for fact, text := range facts {
		limit := maxText
		if fact == FactFrom {
			limit = maxFrom
		}
		facts[fact] = bounded(limit, text)
	}
	return appendMember(dst, "facts", facts)
}

// appendText appends a member that is a text, bounded, unless it is empty. The name needs no escapes.
func appendText(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	text = bounded(maxText, text)
	if strings.ContainsFunc(text, escaped) {
		return appendMember(dst, name, text)
	}
	dst = append(append(append(dst, `,"`...), name...), `":"`...)
	return append(append(dst, text...), '"')
}

// escaped reports whether package json may write a character in another way.
func escaped(r rune) bool {
	switch r {
	case '"', '\\', '<', '>', '&':
		return true
	}
	return r < ' ' || r > '~'
}

// appendMember appends a member of any kind. The name needs no escapes.
func appendMember(dst []byte, name string, value any) []byte {
	text, _ := json.Marshal(value) // cannot fail: texts
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return append(dst, text...)
}

const (
	outcomeOK      = "ok"
	outcomeRefused = "refused"
	outcomeFailed  = "failed"
	outcomeUnknown = "unknown"
)

func outcome(e *Event) string {
	switch {
	case e.Action == AccessRefused:
		return outcomeRefused
	case e.Code != "" && e.Unknown:
		return outcomeUnknown
	case e.Code != "":
		return outcomeFailed
	}
	return outcomeOK
}

// bounded cuts a text to a number of bytes, between characters.
func bounded(limit int, text string) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end])
}
