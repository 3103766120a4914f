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
	// maxText is the longest text of a line in bytes. It bounds the line, because some texts come from callers.
	maxText = 255
	// maxFrom is the longest FactFrom in bytes: shredding names up to 64 lineages of roots, each as 32 digits and a
	// space.
	maxFrom = 64 * 33
)

// Fields are the members of a line besides its chain, sequence number and MAC. Members are only ever added.
type Fields struct {
	Time      string            `json:"time"` // RFC 3339, UTC, with milliseconds
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
	Hashes    []string          `json:"contextHashes,omitempty"` // of the context entries that are not in Context
	Facts     Facts             `json:"facts,omitempty"`
	Lost      uint64            `json:"lost,omitempty"` // for audit.resumed: number of events that may be missing from the log
}

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// appendObject appends the event as a JSON object and a newline. The encoding is that of package json for Fields.
// Context entries in PlainContext are written as they are. For each other entry it writes one hash over key and value;
// the hashes are sorted, so that their order reveals nothing about the keys.
func (f *File) appendObject(dst []byte, e *Event) []byte {
	dst = append(time.Now().UTC().AppendFormat(append(dst, `{"time":"`...), timeLayout), '"')
	dst = appendText(dst, "severity", string(e.Severity()))
	dst = appendText(dst, "action", e.Action.String())
	dst = appendText(dst, "outcome", outcomeOf(e))
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
		facts[fact] = truncate(limit, text)
	}
	return appendMember(dst, "facts", facts)
}

// appendText appends a string member, truncated to maxText, unless it is empty. The name must not need escaping.
func appendText(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	text = truncate(maxText, text)
	if strings.ContainsFunc(text, needsEscape) {
		return appendMember(dst, name, text)
	}
	dst = append(append(append(dst, `,"`...), name...), `":"`...)
	return append(append(dst, text...), '"')
}

// needsEscape reports whether package json may escape a character.
func needsEscape(r rune) bool {
	switch r {
	case '"', '\\', '<', '>', '&':
		return true
	}
	return r < ' ' || r > '~'
}

// appendMember appends a member of any type. The name must not need escaping.
func appendMember(dst []byte, name string, value any) []byte {
	text, _ := json.Marshal(value) // cannot fail: the value contains only strings
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return append(dst, text...)
}

const (
	outcomeOK      = "ok"
	outcomeRefused = "refused"
	outcomeFailed  = "failed"
	outcomeUnknown = "unknown"
)

func outcomeOf(e *Event) string {
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

// truncate shortens a text to at most limit bytes, without splitting a character.
func truncate(limit int, text string) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end])
}
