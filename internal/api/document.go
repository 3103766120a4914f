package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/coffer-storage/coffer/internal/identity"
)

// document is what the page shows of an OpenAPI document.
type document struct {
	Info struct {
		Title, Version, Description string
	}
	Tags       []*tag
	Paths      yaml.Node
	Components struct {
		Parameters map[string]*parameter
		Responses  map[string]*response
		Headers    map[string]*header
		Schemas    map[string]*schema
	}
}

type tag struct {
	Name, Description string
	Operations        []*operation `yaml:"-"`
}

type operation struct {
	Method, Path string `yaml:"-"`
	OperationID  string `yaml:"operationId"`
	Tags         []string
	Summary      string
	Description  string
	Scopes       []string `yaml:"x-scope"`
	Each         bool     `yaml:"x-scope-each"` // each part of a request needs its own of the scopes
	scopes       identity.Scopes
	Parameters   []*parameter
	RequestBody  *struct {
		Description string
		Content     map[string]media
	} `yaml:"requestBody"`
	Responses map[string]*response
}

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name        string
	In          string
	Required    bool
	Description string
	Schema      schema
	Example     any
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
	Headers     map[string]*header
	Content     map[string]media
}

type header struct {
	Ref         string `yaml:"$ref"`
	Description string
}

type media struct {
	Schema  schema
	Example any
}

type schema struct {
	Ref         string `yaml:"$ref"`
	Type        string
	Format      string
	Description string
	Enum        []any
	Items       *schema
	OneOf       []schema `yaml:"oneOf"`
	AllOf       []schema `yaml:"allOf"`
	Required    []string
	Properties  map[string]schema
}

// Needs reports whether a property must be there.
func (s *schema) Needs(property string) bool { return slices.Contains(s.Required, property) }

var methods = []string{"put", "get", "head", "post", "patch", "delete"}

// addPath adds a path's operations to the tags that they name.
func (d *document) addPath(path string, node *yaml.Node) error {
	var item struct {
		Parameters []*parameter
		Operations map[string]yaml.Node `yaml:",inline"`
	}
	if err := node.Decode(&item); err != nil {
		return fmt.Errorf("api: path %s of the OpenAPI document: %w", path, err)
	}
	for _, method := range methods {
		one, there := item.Operations[method]
		if !there {
			continue
		}
		o := &operation{Method: strings.ToUpper(method), Path: path}
		if err := one.Decode(o); err != nil {
			return fmt.Errorf("api: %s %s of the OpenAPI document: %w", method, path, err)
		}
		var err error
		if o.scopes, err = identity.ParseScopes(o.Scopes); err != nil {
			return fmt.Errorf("api: %s %s of the OpenAPI document: %w", method, path, err)
		}
		o.Parameters = slices.Concat(item.Parameters, o.Parameters)
		if err := d.resolve(o); err != nil {
			return err
		}
		if err := d.file(o); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) file(o *operation) error {
	for _, t := range d.Tags {
		if slices.Contains(o.Tags, t.Name) {
			t.Operations = append(t.Operations, o)
			return nil
		}
	}
	return fmt.Errorf("api: operation %s of the OpenAPI document has no tag", o.OperationID)
}

// resolve puts what the components hold in the place of references to it. Schemas stay references: the page links them.
func (d *document) resolve(o *operation) error {
	for i, p := range o.Parameters {
		if p.Ref != "" {
			o.Parameters[i] = d.Components.Parameters[refName(p.Ref)]
		}
		if o.Parameters[i] == nil {
			return fmt.Errorf("api: reference %s of the OpenAPI document leads nowhere", p.Ref)
		}
	}
	for status, r := range o.Responses {
		if r.Ref != "" {
			o.Responses[status] = d.Components.Responses[refName(r.Ref)]
		}
		if o.Responses[status] == nil {
			return fmt.Errorf("api: reference %s of the OpenAPI document leads nowhere", r.Ref)
		}
	}
	return nil
}

func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// indented shows an example as JSON; text as it is.
func indented(example any) (string, error) {
	if text, ok := example.(string); ok {
		return text, nil
	}
	b, err := json.MarshalIndent(example, "", "  ")
	return string(b), err
}
