package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the OpenAPI document and the template of its page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"go.yaml.in/yaml/v3"
)

// OpenAPI is the OpenAPI document of the API, which GET /v1/openapi.yaml sends. Tests compare the handlers with it.
//
//go:embed openapi.yaml
var OpenAPI []byte

//go:embed docs.tmpl
var docsTemplate string

// getDocument sends the OpenAPI document.
func (s *server) getDocument(c *call) error {
	c.Response().Header().Set(echo.HeaderContentType, "application/yaml")
	return write(c, http.StatusOK, OpenAPI)
}

// getDocs sends the OpenAPI document as an HTML page.
func (s *server) getDocs(c *call) error {
	c.Response().Header().Set("Content-Security-Policy", s.page.policy)
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMETextHTMLCharsetUTF8)
	return write(c, http.StatusOK, s.page.html)
}

// docsPage is the OpenAPI document as an HTML page without scripts and without resources from elsewhere.
type docsPage struct {
	html   []byte
	policy string // Content-Security-Policy: allows the page's style, by its hash, and nothing else
}

// renderDocs renders the page once per process. It fails only if the document or the template is broken, which a test finds.
var renderDocs = sync.OnceValues(func() (docsPage, error) {
	d, err := parseDocument(OpenAPI)
	if err != nil {
		return docsPage{}, err
	}
	t, err := template.New("docs").Funcs(template.FuncMap{
		"markdown": renderMarkdown, "lower": strings.ToLower, "json": indentJSON, "type": schemaType, "deref": func(s *schema) schema { return *s },
	}).Parse(docsTemplate)
	if err != nil {
		return docsPage{}, fmt.Errorf("api: parse docs.tmpl: %w", err)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, d); err != nil {
		return docsPage{}, fmt.Errorf("api: render docs.tmpl: %w", err)
	}
	_, style, _ := strings.Cut(docsTemplate, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	hash := sha256.Sum256([]byte(style))
	return docsPage{page.Bytes(), "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
})

var markdown = goldmark.New(goldmark.WithExtensions(extension.Table))

// renderMarkdown renders a description, which is CommonMark with tables. HTML in it is omitted.
func renderMarkdown(text string) (template.HTML, error) {
	var html strings.Builder
	err := markdown.Convert([]byte(text), &html)
	return template.HTML(html.String()), err
}

// document has the parts of an OpenAPI document that the page shows.
type document struct {
	Info struct {
		Title, Version, Description string
	}
	Tags       []*tag
	Paths      yaml.Node
	Components struct {
		Parameters map[string]*parameter
		Responses  map[string]*response
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
	Parameters   []*parameter
	RequestBody  *struct {
		Description string
		Content     map[string]mediaType
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
	Content     map[string]mediaType
}

type mediaType struct {
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

// Requires reports whether the schema requires a property.
func (s *schema) Requires(property string) bool { return slices.Contains(s.Required, property) }

// parseDocument parses an OpenAPI document, assigns the operations to their tags, and resolves the references of operations.
func parseDocument(text []byte) (*document, error) {
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("api: parse the OpenAPI document: %w", err)
	}
	for i := 0; i+1 < len(d.Paths.Content); i += 2 { // keeps the order of the document
		if err := d.addPath(d.Paths.Content[i].Value, d.Paths.Content[i+1]); err != nil {
			return nil, fmt.Errorf("api: path %s of the OpenAPI document: %w", d.Paths.Content[i].Value, err)
		}
	}
	return &d, nil
}

// addPath adds the operations of a path to their tags.
func (d *document) addPath(path string, node *yaml.Node) error {
	var item struct {
		Parameters []*parameter
		Operations map[string]yaml.Node `yaml:",inline"`
	}
	if err := node.Decode(&item); err != nil {
		return err
	}
	for _, method := range []string{"put", "get", "head", "post", "patch", "delete"} {
		node, exists := item.Operations[method]
		if !exists {
			continue
		}
		o := &operation{Method: strings.ToUpper(method), Path: path}
		if err := node.Decode(o); err != nil {
			return err
		}
		o.Parameters = slices.Concat(item.Parameters, o.Parameters)
		if err := d.resolve(o); err != nil {
			return err
		}
		i := slices.IndexFunc(d.Tags, func(t *tag) bool { return slices.Contains(o.Tags, t.Name) })
		if i < 0 {
			return fmt.Errorf("operation %s has no tag", o.OperationID)
		}
		d.Tags[i].Operations = append(d.Tags[i].Operations, o)
	}
	return nil
}

// resolve replaces the references to parameters and responses. References to schemas stay, because the page links to them.
func (d *document) resolve(o *operation) error {
	for i, p := range o.Parameters {
		if p.Ref != "" {
			o.Parameters[i] = d.Components.Parameters[refName(p.Ref)]
		}
		if o.Parameters[i] == nil {
			return fmt.Errorf("the reference %s has no target", p.Ref)
		}
	}
	for status, r := range o.Responses {
		if r.Ref != "" {
			o.Responses[status] = d.Components.Responses[refName(r.Ref)]
		}
		if o.Responses[status] == nil {
			return fmt.Errorf("the reference %s has no target", r.Ref)
		}
	}
	return nil
}

func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// indentJSON returns an example as indented JSON. A string is returned unchanged.
func indentJSON(example any) (string, error) {
	if text, ok := example.(string); ok {
		return text, nil
	}
	b, err := json.MarshalIndent(example, "", "  ")
	return string(b), err
}

// schemaType returns the type of a schema, with a link if the schema has a name.
func schemaType(s schema) template.HTML {
	switch {
	case s.Ref != "":
		name := template.HTMLEscapeString(refName(s.Ref))
		return template.HTML(`<a href="#schema-` + name + `">` + name + `</a>`)
	case s.Items != nil:
		return "array of " + schemaType(*s.Items)
	case len(s.AllOf) > 0:
		return schemaType(s.AllOf[0])
	case len(s.OneOf) > 0 && s.Type == "":
		names := make([]string, len(s.OneOf))
		for i, one := range s.OneOf {
			names[i] = string(schemaType(one))
		}
		return template.HTML(strings.Join(names, " or "))
	case s.Format != "":
		return template.HTML(template.HTMLEscapeString(s.Type + " (" + s.Format + ")"))
	}
	return template.HTML(template.HTMLEscapeString(s.Type))
}
