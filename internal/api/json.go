package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

var (
	errJSON         = &codes.Error{Of: "malformed", Text: "the body is not one well-formed JSON document in UTF-8"}
	errObject       = invalid("there is no JSON object where the operation's schema has one")
	errTwice        = invalid("a member of an object is given twice")
	errUnknown      = invalid("an object has an unknown member")
	errContextValue = invalid("a member of the context is not a string")
	errBatch        = invalid("a batch has at least one operation")
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

// object reads the members of an object: those that are needed, and maybe others that are allowed; each once,
// by its exact name. An error names members of the schema only, for others may be anything.
func object(text json.RawMessage, needed []string, allowed ...string) (map[string]json.RawMessage, error) {
	all, err := members(text, len(needed)+len(allowed), errUnknown)
	if err == errUnknown {
		return nil, unknownMember(needed, allowed)
	}
	if err != nil {
		return nil, err
	}
	known := 0
	for _, name := range needed {
		if all[name] == nil {
			return nil, invalid(fmt.Sprintf("the member %q is missing; known here: %s", name, listed(needed, allowed)))
		}
		known++
	}
	for _, name := range allowed {
		if all[name] != nil {
			known++
		}
	}
	if known != len(all) {
		return nil, unknownMember(needed, allowed)
	}
	return all, nil
}

func unknownMember(needed, allowed []string) error {
	return invalid("unknown member; known here: " + listed(needed, allowed))
}

func listed(needed, allowed []string) string {
	return strings.Join(slices.Concat(needed, allowed), ", ")
}

// members reads no more than most members, as parts of text; more are the error tooMany.
func members(text json.RawMessage, most int, tooMany error) (map[string]json.RawMessage, error) {
	list, ok := jsonform.Members(text)
	if !ok {
		return nil, errObject
	}
	all := map[string]json.RawMessage{}
	for name, value := range list {
		if all[string(name)] != nil {
			return nil, errTwice
		}
		if len(all) == most {
			return nil, tooMany
		}
		all[string(name)] = value
	}
	return all, nil
}

// batch reads a body that is an array of 1 to 1,000 elements under a name.
func (s *server) batch(c *call, name string) ([]json.RawMessage, error) {
	text, err := s.jsonBody(c)
	if err != nil {
		return nil, err
	}
	members, err := object(text, []string{name})
	if err != nil {
		return nil, err
	}
	elements, ok := jsonform.Elements(members[name])
	if !ok {
		return nil, invalid(fmt.Sprintf("the member %q is not an array", name))
	}
	var all []json.RawMessage
	for element := range elements {
		if len(all) == maxBatch {
			return nil, format.ErrTooLarge
		}
		all = append(all, element)
	}
	if len(all) == 0 {
		return nil, errBatch
	}
	s.charge(c, len(all)-1)
	return all, nil
}

// elementError says which element of a batch an error is about.
type elementError struct {
	of  string
	i   int
	err error
}

func (e *elementError) Error() string {
	_, detail := describe(e.err)
	return fmt.Sprintf("%s[%d]: %s", e.of, e.i, detail)
}

func (e *elementError) Code() string { return codes.Of(e.err).Code }

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

// characters reads a string, as a part of the body where it has no escapes; the empty one where the member is left out.
func (f *fields) characters(name string) []byte {
	raw := f.members[name]
	if raw == nil {
		return nil
	}
	text, ok := jsonform.Unquote(raw)
	if !ok {
		f.fail(invalid(fmt.Sprintf("the member %q is not a string", name)))
	}
	return text
}

func (f *fields) text(name string) string { return string(f.characters(name)) }

// bytes reads base64.
func (f *fields) bytes(name string) []byte {
	b, err := jsonform.DecodeBase64(f.characters(name))
	if err != nil {
		f.fail(invalid(fmt.Sprintf("the member %q is not base64 as RFC 4648 section 4 has it: padded, without line breaks", name)))
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
	all, err := members(f.members[name], format.MaxContextEntries, format.ErrTooLarge)
	if err != nil {
		f.fail(err)
		return nil
	}
	context := map[string]string{}
	for key, raw := range all {
		text, ok := jsonform.Unquote(raw)
		if !ok {
			f.fail(errContextValue)
		}
		context[key] = string(text)
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
	Package json.RawMessage `json:"-"` // see write
	Opened  *openedJSON     `json:"opened,omitempty"`
	Code    string          `json:"code,omitempty"`
	Detail  string          `json:"detail,omitempty"`
}

// answerEach answers the n results of a batch one by one, each when it is made: all of them would be in
// memory at the same time. Its error is errNotTaken.
func answerEach(c *call, n int, each func(i int) result) error {
	if err := writeEach(c, n, each); err != nil {
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return nil
}

func writeEach(c *call, n int, each func(i int) result) error {
	response := c.Response()
	response.Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	encoder := json.NewEncoder(response)
	encoder.SetEscapeHTML(false)
	before := `{"results":[`
	for i := range n {
		one := each(i)
		if _, err := io.WriteString(response, before); err != nil {
			return err
		}
		if err := one.write(response, encoder); err != nil {
			return err
		}
		before = ","
	}
	_, err := io.WriteString(response, "]}\n")
	return err
}

// write writes a result. A package is JSON already, and not to be copied.
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

// failed is the result of what failed, as it would have been answered alone.
func failed(err error) result {
	info, detail := describe(err)
	return result{Status: info.Status, Code: info.Code, Detail: detail}
}
