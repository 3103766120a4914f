package api

import (
	"context"
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

var errUnencrypted = &codes.Error{ErrorCode: "encryption_disabled", Message: "ENCRYPTION_ENABLED is false on this server: it seals, opens and returns no packages"}

// checkEncrypted refuses requests about packages if the server does not encrypt.
func (s *server) checkEncrypted() error {
	if s.unencrypted {
		return errUnencrypted
	}
	return nil
}

// encrypt seals a value into a package that the client keeps.
func (s *server) encrypt(c *call) error {
	if err := s.checkEncrypted(); err != nil {
		return err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return err
	}
	if err := parseNoQuery(c); err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	pkg, err := s.encryptOne(ctx, c, text)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	return write(c, http.StatusOK, append(pkg, '\n'))
}

// encryptBatch seals many values. It checks the whole body before it seals the first one.
func (s *server) encryptBatch(c *call) error {
	if err := s.checkEncrypted(); err != nil {
		return err
	}
	if err := parseNoQuery(c); err != nil {
		return err
	}
	items, err := s.jsonBatch(c, "items")
	if err != nil {
		return err
	}
	for i, item := range items {
		if _, err := parsePlaintext(item); err != nil {
			return &itemError{"items", i, err}
		}
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	return writeResults(c, len(items), func(i int) result {
		pkg, err := s.encryptOne(ctx, c, items[i])
		c.class = 0 // a batch has no single class
		if err != nil {
			return failedResult(err)
		}
		return result{Status: http.StatusOK, Package: pkg}
	})
}

// encryptOne seals one value and records that.
func (s *server) encryptOne(ctx context.Context, c *call, text json.RawMessage) (json.RawMessage, error) {
	if err := s.reserveOne(c, (jsonCopies-valueCopies)*len(text)); err != nil {
		return nil, err
	}
	p, err := parsePlaintext(text)
	if err != nil {
		return nil, err
	}
	c.class = p.class
	pkg, keyID, err := sealJSON(ctx, c.tenant.service.Sealer(), &p)
	return pkg, s.recordUse(c, keyUse{action: audit.KeySeal, class: p.class, keyID: keyID, context: p.context, err: err})
}

// sealJSON seals a value into the JSON form of a package.
func sealJSON(ctx context.Context, sealer *seal.Sealer, p *plaintext) (text []byte, keyID format.KeyID, err error) {
	context, err := format.NewContext(p.context)
	if err != nil {
		return nil, keyID, err
	}
	pkg, h, err := sealer.SealWithHeader(ctx, nil, seal.Request{Use: format.UseService, Class: p.class, Type: p.valueType, Context: context}, p.value)
	if err != nil {
		return nil, keyID, err
	}
	text, err = jsonform.Marshal(format.Package{Header: h, Body: pkg[h.Size():]})
	return text, h.KeyID, err
}

// decrypt opens a package that the client kept.
func (s *server) decrypt(c *call) error {
	if err := s.checkEncrypted(); err != nil {
		return err
	}
	minClass, err := parseOnlyMinClass(c)
	if err != nil {
		return err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	opened, err := s.decryptOne(ctx, c, text, minClass)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, opened)
}

// decryptBatch opens many packages.
func (s *server) decryptBatch(c *call) error {
	if err := s.checkEncrypted(); err != nil {
		return err
	}
	minClass, err := parseOnlyMinClass(c)
	if err != nil {
		return err
	}
	items, err := s.jsonBatch(c, "items")
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	return writeResults(c, len(items), func(i int) result {
		opened, err := s.decryptOne(ctx, c, items[i], minClass)
		c.class = 0 // a batch has no single class
		if err != nil {
			return failedResult(err)
		}
		return result{Status: http.StatusOK, Opened: opened}
	})
}

// parseOnlyMinClass parses a query whose only parameter is min_class.
func parseOnlyMinClass(c *call) (classify.Class, error) {
	query, err := parseQuery(c, "min_class")
	if err != nil {
		return 0, err
	}
	return parseMinClass(query)
}

// decryptOne opens one package and records that. If the package does not open, the record has what its header claims, which
// shows the key that was tried.
func (s *server) decryptOne(ctx context.Context, c *call, text json.RawMessage, minClass classify.Class) (*openedJSON, error) {
	if err := s.reserveOne(c, (jsonCopies-valueCopies)*len(text)); err != nil {
		return nil, err
	}
	opened, err := c.tenant.service.DecryptJSON(ctx, text, seal.MinClass(minClass))
	header, context := &opened.Header, opened.Context()
	if err != nil {
		claimed, _ := jsonform.Unmarshal(text) // empty if the text is not a package
		header, context = &claimed.Header, claimed.Header.Context
	}
	c.class = classify.Class(header.Class)
	if err := s.recordUse(c, keyUse{action: audit.KeyOpen, class: c.class, keyID: header.KeyID, context: context.Map(), err: err}); err != nil {
		return nil, err
	}
	return newOpenedJSON(&opened), nil
}

// openedJSON is the value of an opened package, with the package's header.
type openedJSON struct {
	Text        *string           `json:"text,omitempty"`
	Data        *[]byte           `json:"data,omitempty"`
	ValueType   string            `json:"valueType"`
	ElementType string            `json:"elementType,omitempty"` // of the value type view
	Class       string            `json:"class"`
	KeyID       string            `json:"keyId"`
	EncryptedAt string            `json:"encryptedAt"`
	Context     map[string]string `json:"context"`
}

func newOpenedJSON(o *seal.Opened) *openedJSON {
	j := &openedJSON{
		ValueType: o.Header.Type.String(), Class: classify.Class(o.Header.Class).String(), KeyID: hex.EncodeToString(o.Header.KeyID[:]),
		EncryptedAt: formatTime(o.Header.EncryptedAt), Context: notNilMap(o.Context().Map()),
	}
	if o.Header.Type == format.View {
		j.ElementType = o.Details.Element.String()
	}
	if o.Header.Type == format.Text || o.Header.Type == format.JSON {
		text := string(o.Value)
		j.Text = &text
	} else {
		data := notNilBytes(o.Value)
		j.Data = &data
	}
	return j
}
