package api

import (
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// openedJSON is an opened value with what its package says of it.
type openedJSON struct {
	Text        *string           `json:"text,omitempty"`
	Data        *[]byte           `json:"data,omitempty"`
	ValueType   string            `json:"valueType"`
	ElementType string            `json:"elementType,omitempty"` // of views
	Class       string            `json:"class"`
	KeyID       string            `json:"keyId"`
	EncryptedAt string            `json:"encryptedAt"`
	Context     map[string]string `json:"context"`
}

var errUnencrypted = &codes.Error{Of: "encryption_disabled", Text: "ENCRYPTION_ENABLED is false on this server: it makes, opens and shows no packages"}

// sealing refuses what is about packages where none are made.
func (s *server) sealing(next func(*call) error) func(*call) error {
	return func(c *call) error {
		if s.unencrypted {
			return errUnencrypted
		}
		return next(c)
	}
}

// encrypt seals a value into a package that the client keeps.
func (s *server) encrypt(c *call) error {
	text, err := s.jsonBody(c)
	if err != nil {
		return err
	}
	if _, err := query(c); err != nil {
		return err
	}
	pkg, err := s.encryptOne(c, text)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	return write(c, http.StatusOK, append(pkg, '\n'))
}

func (s *server) encryptBatch(c *call) error {
	if _, err := query(c); err != nil {
		return err
	}
	items, err := s.batch(c, "items")
	if err != nil {
		return err
	}
	for i, item := range items {
		if _, err := readSealing(item); err != nil {
			return &elementError{"items", i, err}
		}
	}
	return answerEach(c, len(items), func(i int) result {
		pkg, err := s.encryptOne(c, items[i])
		c.class = 0
		if err != nil {
			return failed(err)
		}
		return result{Status: http.StatusOK, Package: pkg}
	})
}

// sealing is a value to be sealed.
type sealing struct {
	valueType format.ValueType
	value     []byte
	class     classify.Class
	context   map[string]string
}

func readSealing(text json.RawMessage) (v sealing, err error) {
	members, err := object(text, []string{"class"}, "text", "data", "context")
	if err != nil {
		return v, err
	}
	f := fields{members: members}
	if f.has("text") == f.has("data") {
		return v, invalid("give the value as text or as data, and not as both")
	}
	v = sealing{valueType: format.Text, class: f.class("class"), context: f.context("context")}
	if f.has("text") {
		v.value = f.characters("text")
	} else {
		v.valueType, v.value = format.Bytes, f.bytes("data")
	}
	return v, f.err
}

func (s *server) encryptOne(c *call, text json.RawMessage) (json.RawMessage, error) {
	if err := s.borrow(c, (jsonCopies-copies)*len(text)); err != nil {
		return nil, err
	}
	v, err := readSealing(text)
	if err != nil {
		return nil, err
	}
	c.class = v.class
	pkg, keyID, err := sealPackage(c.tenant.service.Sealer(), &v)
	return pkg, s.record(c, use{action: audit.KeySeal, class: v.class, keyID: keyID, context: v.context, err: err})
}

func sealPackage(sealer *seal.Sealer, v *sealing) (text []byte, keyID format.KeyID, err error) {
	context, err := format.NewContext(v.context)
	if err != nil {
		return nil, keyID, err
	}
	pkg, err := sealer.Seal(nil, seal.Request{Use: format.UseService, Class: v.class, Type: v.valueType, Context: context}, v.value)
	if err != nil {
		return nil, keyID, err
	}
	p, err := format.Parse(pkg)
	if err != nil {
		return nil, keyID, err
	}
	text, err = jsonform.Marshal(p)
	return text, p.Header.KeyID, err
}

// decrypt opens a package that the client kept.
func (s *server) decrypt(c *call) error {
	lowest, err := onlyMinClass(c)
	if err != nil {
		return err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return err
	}
	opened, err := s.decryptOne(c, text, lowest)
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, opened)
}

func (s *server) decryptBatch(c *call) error {
	lowest, err := onlyMinClass(c)
	if err != nil {
		return err
	}
	items, err := s.batch(c, "items")
	if err != nil {
		return err
	}
	return answerEach(c, len(items), func(i int) result {
		opened, err := s.decryptOne(c, items[i], lowest)
		c.class = 0
		if err != nil {
			return failed(err)
		}
		return result{Status: http.StatusOK, Opened: opened}
	})
}

func onlyMinClass(c *call) (classify.Class, error) {
	values, err := query(c, "min_class")
	if err != nil {
		return 0, err
	}
	return minClass(values)
}

func (s *server) decryptOne(c *call, text json.RawMessage, lowest classify.Class) (*openedJSON, error) {
	if err := s.borrow(c, (jsonCopies-copies)*len(text)); err != nil {
		return nil, err
	}
	o, err := c.tenant.service.DecryptJSON(text, seal.MinClass(lowest))
	header, context := &o.Header, o.Context()
	if err != nil {
		// What it says of itself is recorded, as of entries: it tells which key somebody tried. What is no
		// package says nothing.
		claimed, _ := jsonform.Unmarshal(text)
		header, context = &claimed.Header, claimed.Header.Context
	}
	c.class = classify.Class(header.Class)
	if err := s.record(c, use{action: audit.KeyOpen, class: c.class, keyID: header.KeyID, context: context.Map(), err: err}); err != nil {
		return nil, err
	}
	return describeOpened(&o), nil
}

func describeOpened(o *seal.Opened) *openedJSON {
	d := &openedJSON{
		ValueType: o.Header.Type.String(), Class: classify.Class(o.Header.Class).String(), KeyID: hex.EncodeToString(o.Header.KeyID[:]),
		EncryptedAt: formatTime(o.Header.EncryptedAt), Context: notNil(o.Context().Map()),
	}
	if o.Header.Type == format.View {
		d.ElementType = o.Details.Element.String()
	}
	if o.Header.Type == format.Text || o.Header.Type == format.JSON {
		text := string(o.Value)
		d.Text = &text
	} else {
		data := neverNull(o.Value)
		d.Data = &data
	}
	return d
}

func notNil(context map[string]string) map[string]string {
	if context == nil {
		return map[string]string{}
	}
	return context
}
