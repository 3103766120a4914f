package audit

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
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
type record struct {
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

// appendObject appends the event as a JSON object on a line of its own. It writes the allowed entries of a context as they are, and
// of the others a hash of key and value together, in an order that says nothing of either.
func (f *File) appendObject(dst []byte, e *Event) []byte {
	r := record{
		Time: time.Now().UTC().Format(timeLayout), Severity: e.Severity(), Action: e.Action.String(), Outcome: outcome(e),
		RequestID: bounded(maxText, e.RequestID), Operation: bounded(maxText, e.Operation),
		Issuer: bounded(maxText, e.Issuer), Subject: bounded(maxText, e.Subject), Tenant: bounded(maxText, e.Tenant),
		Facts: maps.Clone(e.Facts), Lost: e.lost,
	}
	if r.Code = e.Code; e.Code != "" && codes.Number(e.Code) < 0 {
		r.Code = codes.Internal
	}
	if e.Class.Valid() {
		r.Class = e.Class.String()
	}
	if e.KeyID != (format.KeyID{}) {
		r.KeyID = hex.EncodeToString(e.KeyID[:])
	}
	if e.Name != "" {
		r.NameHash = f.key.HashName(e.Tenant, e.Name)
	}
	for key, value := range e.Context {
		if slices.Contains(f.options.Allow, key) && len(value) <= maxText {
			if r.Context == nil {
				r.Context = map[string]string{}
			}
			r.Context[key] = value
			continue
		}
		r.Hashes = append(r.Hashes, f.key.HashContext(e.Tenant, key, value))
	}
	slices.Sort(r.Hashes)
	for fact, text := range r.Facts {
		limit := maxText
		if fact == FactFrom {
			limit = maxFrom
		}
		r.Facts[fact] = bounded(limit, text)
	}
	text, _ := json.Marshal(r) // cannot fail: texts and numbers
	return append(append(dst, text...), '\n')
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
