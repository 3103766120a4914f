package api

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

var (
	errJSON    = &codes.Error{Of: "malformed", Text: "the body is not one well-formed JSON document in UTF-8"}
	errMembers = invalid("the body has a member that is unknown, given twice or not of its type, or lacks one; see the operation's schema")
	errBatch   = invalid("a batch has at least one operation")
)

const maxBatch = 1000

// jsonBody reads a body that is one JSON document. What encoding/json would quietly change is refused.
func (s *server) jsonBody(c *call) (json.RawMessage, error) {
	kind, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil || kind != echo.MIMEApplicationJSON {
		return nil, invalid("the body's Content-Type must be application/json")
	}
	text, err := s.body(c)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(text) || hasLoneSurrogate(string(text)) || !json.Valid(text) {
		return nil, errJSON
	}
	return text, nil
}

// object reads the members of an object: those that are needed, and maybe others that are allowed; each once, by its exact name.
func object(text json.RawMessage, needed []string, allowed ...string) (map[string]json.RawMessage, error) {
	members, err := members(text)
	if err != nil {
		return nil, err
	}
	known := 0
	for _, name := range needed {
		if members[name] == nil {
			return nil, errMembers
		}
		known++
	}
	for _, name := range allowed {
		if members[name] != nil {
			known++
		}
	}
	if known != len(members) {
		return nil, errMembers
	}
	return members, nil
}

func members(text json.RawMessage) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return nil, errMembers
	}
	all := map[string]json.RawMessage{}
	for decoder.More() {
		name, _ := decoder.Token() // the text is valid JSON
		var value json.RawMessage
		if decoder.Decode(&value) != nil || all[name.(string)] != nil {
			return nil, errMembers
		}
		all[name.(string)] = value
	}
	return all, nil
}

// list reads an array of 1 to 1,000 elements.
func list(text json.RawMessage) ([]json.RawMessage, error) {
	var all []json.RawMessage
	switch err := json.Unmarshal(text, &all); {
	case err != nil || all == nil:
		return nil, errMembers
	case len(all) == 0:
		return nil, errBatch
	case len(all) > maxBatch:
		return nil, format.ErrTooLarge
	}
	return all, nil
}

// fields reads members and keeps the first error.
type fields struct {
	members map[string]json.RawMessage
	err     error
}

func (f *fields) has(name string) bool { return f.members[name] != nil }

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// text reads a string; the empty one where the member is left out.
func (f *fields) text(name string) (text string) {
	if raw := f.members[name]; raw != nil && (raw[0] != '"' || json.Unmarshal(raw, &text) != nil) {
		f.fail(errMembers)
	}
	return text
}

// bytes reads base64.
func (f *fields) bytes(name string) []byte {
	b, err := jsonform.DecodeBase64(f.text(name))
	if err != nil {
		f.fail(invalid("a value is not base64 as RFC 4648 section 4 has it: padded, without line breaks"))
	}
	return b
}

func (f *fields) class(name string) (c classify.Class) {
	if !f.has(name) {
		return 0
	}
	c, err := classify.Parse(f.text(name))
	if err != nil {
		f.fail(err)
	}
	return c
}

func (f *fields) context(name string) map[string]string {
	if !f.has(name) {
		return nil
	}
	all, err := members(f.members[name])
	if err != nil {
		f.fail(err)
		return nil
	}
	if len(all) > format.MaxContextEntries {
		f.fail(format.ErrTooLarge)
		return nil
	}
	inner, context := fields{members: all}, map[string]string{}
	for key := range all {
		context[key] = inner.text(key)
	}
	if inner.err != nil {
		f.fail(inner.err)
	}
	return context
}

// answerJSON answers a document. It is not escaped for HTML: nothing of it is ever in a page.
func answerJSON(c *call, status int, document any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	return write(c, status, b.Bytes())
}

// result is what one of a batch is answered.
type result struct {
	Status  int             `json:"status"`
	Entry   *entryJSON      `json:"entry,omitempty"`
	ETag    string          `json:"etag,omitempty"`
	Package json.RawMessage `json:"package,omitempty"`
	Opened  *openedJSON     `json:"opened,omitempty"`
	Code    string          `json:"code,omitempty"`
	Detail  string          `json:"detail,omitempty"`
}

// answerResults answers those of a batch one by one: all their values in one text would be in memory several times.
func answerResults(c *call, results []result) error {
	response := c.Response()
	response.Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	encoder := json.NewEncoder(response)
	encoder.SetEscapeHTML(false)
	before := `{"results":[`
	for i := range results {
		if _, err := io.WriteString(response, before); err != nil {
			return err
		}
		if err := encoder.Encode(&results[i]); err != nil {
			return err
		}
		results[i], before = result{}, ","
	}
	_, err := io.WriteString(response, "]}\n")
	return err
}

// failed is the result of what failed, as it would have been answered alone.
func failed(err error) result {
	info, detail := describe(err)
	return result{Status: info.Status, Code: info.Code, Detail: detail}
}

// succeeded is the result of what was done and answers nothing.
func succeeded() result { return result{Status: http.StatusNoContent} }
