package client

import (
	"context"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// Package is a sealed value in the JSON form of SPEC.md section 7. The caller stores it, unchanged. jsonform.Join returns its binary
// form.
type Package struct {
	Ciphertext []byte            `json:"ciphertext"`
	Metadata   jsonform.Metadata `json:"metadata"`
}

// Plaintext is a value to seal.
type Plaintext struct {
	Value   []byte
	Text    bool // Value is UTF-8 text, which other languages then open as text
	Class   classify.Class
	Context map[string]string
}

// Opened is an authentic value and the header of its package.
type Opened struct {
	Value       []byte
	ValueType   string // text, bytes, buffer, json, blob, file or view
	ElementType string // for the value type view: the ECMAScript class, such as Float32Array, whose elements are little-endian
	Class       classify.Class
	KeyID       string
	EncryptedAt time.Time
	Context     map[string]string
}

// EncryptResult is one result of EncryptBatch.
type EncryptResult struct {
	Package Package
	Err     error // an *Error if the value was not sealed
}

// DecryptResult is one result of DecryptBatch.
type DecryptResult struct {
	Opened Opened
	Err    error // an *Error if the package was not opened
}

type sealingJSON struct {
	Text    *string           `json:"text,omitempty"`
	Data    *[]byte           `json:"data,omitempty"`
	Class   string            `json:"class"`
	Context map[string]string `json:"context,omitempty"`
}

func (p *Plaintext) json() (sealingJSON, error) {
	s := sealingJSON{Class: p.Class.String(), Context: p.Context}
	if err := checkContext(p.Context); err != nil || p.Text && !utf8.Valid(p.Value) {
		return s, errText
	}
	if p.Text {
		text := string(p.Value)
		s.Text = &text
		return s, nil
	}
	data := append([]byte{}, p.Value...)
	s.Data = &data
	return s, nil
}

type openedJSON struct {
	Text        *string           `json:"text,omitempty"`
	Data        []byte            `json:"data,omitempty"`
	ValueType   string            `json:"valueType"`
	ElementType string            `json:"elementType,omitempty"`
	Class       string            `json:"class"`
	KeyID       string            `json:"keyId"`
	EncryptedAt time.Time         `json:"encryptedAt"`
	Context     map[string]string `json:"context"`
}

func (o *openedJSON) opened() (Opened, error) {
	class, err := classify.Parse(o.Class)
	if err != nil {
		return Opened{}, notCoffer(http.StatusOK)
	}
	value := o.Data
	if o.Text != nil {
		value = []byte(*o.Text)
	}
	return Opened{value, o.ValueType, o.ElementType, class, o.KeyID, o.EncryptedAt, o.Context}, nil
}

type itemsJSON[T any] struct {
	Items []T `json:"items"`
}

// Encrypt seals a value into a package, which the caller stores. The package is not bound to a place: put what it belongs to into
// the context, and check the context after Decrypt.
func (c *Client) Encrypt(ctx context.Context, p Plaintext) (sealed Package, err error) {
	document, err := p.json()
	if err != nil {
		return sealed, err
	}
	err = c.send(ctx, newRequest(http.MethodPost, "/v1/encrypt").withJSON(document), decode(&sealed))
	return sealed, err
}

type encryptResultJSON struct {
	resultJSON
	Package *Package `json:"package,omitempty"`
}

// EncryptBatch seals up to 1,000 values and returns one result for each. Each succeeds or fails alone.
func (c *Client) EncryptBatch(ctx context.Context, all []Plaintext) ([]EncryptResult, error) {
	items := make([]sealingJSON, len(all))
	for i := range all {
		var err error
		if items[i], err = all[i].json(); err != nil {
			return nil, err
		}
	}
	var response resultsJSON[encryptResultJSON]
	r := newRequest(http.MethodPost, "/v1/encrypt:batch").withJSON(itemsJSON[sealingJSON]{items})
	if err := c.send(ctx, r, decodeResults(&response, len(all))); err != nil {
		return nil, err
	}
	results := make([]EncryptResult, len(all))
	for i, one := range response.Results {
		if results[i].Err = one.err(); one.Package != nil {
			results[i].Package = *one.Package
		}
	}
	return results, nil
}

// Decrypt opens a package that Encrypt made, if its class is minClass or higher. The zero class accepts every package.
func (c *Client) Decrypt(ctx context.Context, sealed Package, minClass classify.Class) (opened Opened, err error) {
	var response openedJSON
	r := newRequest(http.MethodPost, "/v1/decrypt").withJSON(sealed)
	r.setMinClass(minClass)
	if err := c.send(ctx, r, decode(&response)); err != nil {
		return opened, err
	}
	return response.opened()
}

type decryptResultJSON struct {
	resultJSON
	Opened *openedJSON `json:"opened,omitempty"`
}

// DecryptBatch opens up to 1,000 packages as Decrypt does and returns one result for each. Each succeeds or fails alone.
func (c *Client) DecryptBatch(ctx context.Context, all []Package, minClass classify.Class) ([]DecryptResult, error) {
	var response resultsJSON[decryptResultJSON]
	r := newRequest(http.MethodPost, "/v1/decrypt:batch").withJSON(itemsJSON[Package]{all})
	r.setMinClass(minClass)
	if err := c.send(ctx, r, decodeResults(&response, len(all))); err != nil {
		return nil, err
	}
	results := make([]DecryptResult, len(all))
	for i, one := range response.Results {
		if results[i].Err = one.err(); one.Opened != nil {
			var err error
			if results[i].Opened, err = one.Opened.opened(); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

// setMinClass sets the lowest class to accept, unless it is 0.
func (r *request) setMinClass(class classify.Class) {
	if class != 0 {
		r.setClass("min_class", class)
	}
}
