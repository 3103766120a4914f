package main

import (
	"context"
	"encoding/json"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// exchangeRequest has the values to seal and the packages to open, with the keys of a document that the secret unlocks, or with
// the secret alone, which is a master key or a passphrase.
type exchangeRequest struct {
	Document []byte
	Secret   string
	Seal     []item
	Open     []found
}

// item is a value with its metadata. Numbers and names are those of the JSON form.
type item struct {
	Type         string            `json:"type"`
	Class        string            `json:"class"`
	Use          string            `json:"use"`
	Place        place             `json:"place"`
	Context      map[string]string `json:"context"`
	Bytes        []byte            `json:"bytes"`
	MediaType    string            `json:"mediaType"`
	FileName     string            `json:"fileName"`
	LastModified int64             `json:"lastModified"`
	Element      string            `json:"element"` // of views
}

type place struct {
	Owner      string  `json:"owner"`
	Collection string  `json:"collection"`
	Name       *string `json:"name,omitempty"`
}

func (p place) format() format.Place {
	if p.Name == nil {
		return format.Place{Owner: p.Owner, Collection: p.Collection}
	}
	return format.Place{Owner: p.Owner, Collection: p.Collection, Name: *p.Name, Named: true}
}

// sealed is a package in both encodings.
type sealed struct {
	Binary []byte          `json:"binary"`
	JSON   json.RawMessage `json:"json"`
}

// found is a package in one encoding, and the place where it was found.
type found struct {
	sealed
	Use   string
	Place place
}

// opened is the value of a package, or the code of the error.
type opened struct {
	*item
	Code string `json:"code,omitempty"`
}

func exchange() (any, error) {
	in, err := request[exchangeRequest]()
	if err != nil {
		return nil, err
	}
	s, err := sealer(in)
	if err != nil {
		return map[string]string{"code": codes.Of(err).Code}, nil
	}
	answer := struct {
		Owner  string   `json:"owner"`
		Sealed []sealed `json:"sealed"`
		Opened []opened `json:"opened"`
	}{Owner: s.Owner()}
	ctx := context.Background()
	for _, i := range in.Seal {
		p, err := sealItem(ctx, s, i)
		if err != nil {
			return nil, err
		}
		answer.Sealed = append(answer.Sealed, p)
	}
	for _, f := range in.Open {
		answer.Opened = append(answer.Opened, openFound(ctx, s, f))
	}
	return answer, nil
}

func sealer(in exchangeRequest) (*seal.Sealer, error) {
	if in.Document == nil {
		service, err := newService(in.Secret)
		if err != nil {
			return nil, err
		}
		return service.Sealer(), nil
	}
	vault, err := keyring.OpenVault(in.Document, vaultSecret(in.Secret))
	if err != nil {
		return nil, err
	}
	return seal.NewSealer(vault), nil
}

// newService returns the service of a master key in base64, or else of a passphrase.
func newService(text string) (*seal.Service, error) {
	masterKey, err := seal.ParseMasterKey(text)
	if err != nil {
		return seal.NewPassphraseService(text)
	}
	return seal.NewService(masterKey)
}

func sealItem(ctx context.Context, s *seal.Sealer, i item) (out sealed, err error) {
	req := seal.Request{Place: i.Place.format(), MediaType: i.MediaType, FileName: i.FileName, LastModified: i.LastModified}
	if i.Element != "" {
		var err error
		if req.Element, err = format.ParseElement(i.Element); err != nil {
			return out, err
		}
	}
	var errs [4]error
	req.Use, errs[0] = format.ParseUse(i.Use)
	req.Type, errs[1] = format.ParseValueType(i.Type)
	req.Class, errs[2] = classify.Parse(i.Class)
	req.Context, errs[3] = format.NewContext(i.Context)
	for _, err := range errs {
		if err != nil {
			return out, err
		}
	}
	if out.Binary, err = s.Seal(ctx, nil, req, i.Bytes); err != nil {
		return out, err
	}
	p, err := format.Parse(out.Binary)
	if err != nil {
		return out, err
	}
	out.JSON, err = jsonform.Marshal(p)
	return out, err
}

func openFound(ctx context.Context, s *seal.Sealer, f found) opened {
	pkg, err := f.bytes()
	if err != nil {
		return opened{Code: codes.Of(err).Code}
	}
	use, _ := format.ParseUse(f.Use)
	o, err := s.Open(ctx, nil, pkg, f.Place.format(), envelope.OpenPolicy{Use: use})
	if err != nil {
		return opened{Code: codes.Of(err).Code}
	}
	h := o.Header
	context := o.Context().Map()
	if context == nil {
		context = map[string]string{}
	}
	return opened{item: &item{
		Type: h.Type.String(), Class: classify.Class(h.Class).String(), Use: h.Use.String(), Place: f.Place, Context: context,
		Bytes: append([]byte{}, o.Value...), Element: elementOf(o.Details), MediaType: o.Details.MediaType, FileName: o.Details.FileName, LastModified: o.Details.LastModified,
	}}
}

func elementOf(d format.Details) string {
	if !d.Element.Valid() {
		return ""
	}
	return d.Element.String()
}

// bytes returns the package in the binary encoding.
func (f found) bytes() ([]byte, error) {
	if f.Binary != nil {
		return f.Binary, nil
	}
	p, err := jsonform.Unmarshal(f.JSON)
	if err != nil {
		return nil, err
	}
	return p.Append(nil)
}
