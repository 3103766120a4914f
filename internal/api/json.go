package api

import (
	"encoding/json"
	"fmt"
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
	errJSON          = &codes.Error{ErrorCode: "malformed", Message: "the body is not one well-formed JSON document in UTF-8"}
	errObject        = invalid("a JSON object is required, as in the operation's schema")
	errDuplicate     = invalid("an object has the same member twice")
	errUnknownMember = invalid("an object has an unknown member")
	errContextValue  = invalid("a member of the context is not a string")
	errEmptyBatch    = invalid("a batch has at least one operation")
)

const maxBatch = 1000

// jsonBody reads a body that is one JSON document. It refuses everything that encoding/json would silently change.
func (s *server) jsonBody(c *call) (json.RawMessage, error) {
	mediaType, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil || mediaType != echo.MIMEApplicationJSON {
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

// jsonBatch reads a body that is an object with one member, an array of 1 to 1,000 items. Each item counts as a request
// against the tenant's limit.
func (s *server) jsonBatch(c *call, name string) ([]json.RawMessage, error) {
	text, err := s.jsonBody(c)
	if err != nil {
		return nil, err
	}
	o, err := parseObject(text, []string{name})
	if err != nil {
		return nil, err
	}
	elements, ok := jsonform.Elements(o.members[name])
	if !ok {
		return nil, invalid(fmt.Sprintf("the member %q is not an array", name))
	}
	var items []json.RawMessage
	for element := range elements {
		if len(items) == maxBatch {
			return nil, format.ErrTooLarge
		}
		items = append(items, element)
	}
	if len(items) == 0 {
		return nil, errEmptyBatch
	}
	s.charge(c, len(items)-1)
	return items, nil
}

// itemError is an error of one item of a batch.
type itemError struct {
	list  string // name of the array
	index int
	err   error
}

func (e *itemError) Error() string {
	_, detail := describe(e.err)
	return fmt.Sprintf("%s[%d]: %s", e.list, e.index, detail)
}

// Code returns the code of the item's error.
func (e *itemError) Code() string { return codes.Of(e.err).Code }

// object is a JSON object. Its methods return the values of members, and the zero value for a member that is missing or not
// valid. The first error is in err.
type object struct {
	members map[string]json.RawMessage
	err     error
}

// parseObject parses an object with the required members and any of the optional ones. Names are case-sensitive, and each may
// occur once. An error quotes only names of the schema, because the names in the body may contain anything.
func parseObject(text json.RawMessage, required []string, optional ...string) (object, error) {
	members, err := parseMembers(text, len(required)+len(optional), errUnknownMember)
	if err == errUnknownMember {
		return object{}, unknownMember(required, optional)
	}
	if err != nil {
		return object{}, err
	}
	known := 0
	for _, name := range required {
		if members[name] == nil {
			return object{}, invalid(fmt.Sprintf("the member %q is missing; known here: %s", name, listNames(required, optional)))
		}
		known++
	}
	for _, name := range optional {
		if members[name] != nil {
			known++
		}
	}
	if known != len(members) {
		return object{}, unknownMember(required, optional)
	}
	return object{members: members}, nil
}

func unknownMember(required, optional []string) error {
	return invalid("unknown member; known here: " + listNames(required, optional))
}

func listNames(required, optional []string) string {
	return strings.Join(slices.Concat(required, optional), ", ")
}

// parseMembers parses an object whose values stay parts of text. It returns tooMany if the object has more than limit members.
func parseMembers(text json.RawMessage, limit int, tooMany error) (map[string]json.RawMessage, error) {
	list, ok := jsonform.Members(text)
	if !ok {
		return nil, errObject
	}
	members := map[string]json.RawMessage{}
	for name, value := range list {
		if members[string(name)] != nil {
			return nil, errDuplicate
		}
		if len(members) == limit {
			return nil, tooMany
		}
		members[string(name)] = value
	}
	return members, nil
}

func (o *object) has(name string) bool { return o.members[name] != nil }

// fail sets err, unless an earlier error is there.
func (o *object) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// utf8 returns a string as UTF-8. The result is a part of the body if the string has no escapes.
func (o *object) utf8(name string) []byte {
	raw := o.members[name]
	if raw == nil {
		return nil
	}
	text, ok := jsonform.Unquote(raw)
	if !ok {
		o.fail(invalid(fmt.Sprintf("the member %q is not a string", name)))
	}
	return text
}

func (o *object) string(name string) string { return string(o.utf8(name)) }

// base64 returns the bytes of a string in base64.
func (o *object) base64(name string) []byte {
	b, err := jsonform.DecodeBase64(o.utf8(name))
	if err != nil {
		o.fail(invalid(fmt.Sprintf("the member %q is not base64 (RFC 4648 section 4, padded, without line breaks)", name)))
	}
	return b
}

func (o *object) bool(name string) bool {
	switch string(o.members[name]) {
	case "true":
		return true
	case "", "false":
	default:
		o.fail(invalid(fmt.Sprintf("the member %q is not true or false", name)))
	}
	return false
}

func (o *object) class(name string) (c classify.Class) {
	if !o.has(name) {
		return 0
	}
	c, err := classify.Parse(o.string(name))
	if err != nil {
		o.fail(err)
	}
	return c
}

func (o *object) context(name string) map[string]string {
	if !o.has(name) {
		return nil
	}
	members, err := parseMembers(o.members[name], format.MaxContextEntries, format.ErrTooLarge)
	if err != nil {
		o.fail(err)
		return nil
	}
	context := map[string]string{}
	for key, raw := range members {
		text, ok := jsonform.Unquote(raw)
		if !ok {
			o.fail(errContextValue)
		}
		context[key] = string(text)
	}
	return context
}
