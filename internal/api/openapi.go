package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the document and its page
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// OpenAPI is the contract of everything under /v1: the document that is served as it is, and that tests hold
// the handlers to.
//
//go:embed openapi.yaml
var OpenAPI []byte

//go:embed docs.tmpl
var docsTemplate string

// Page is the document for people: HTML without scripts and without anything from elsewhere.
type Page struct {
	HTML   []byte
	Policy string // its Content-Security-Policy: its own style, by hash, and nothing else
}

// Docs renders the OpenAPI document, once in a process. It fails only if the document or the template is broken, which a test finds.
var Docs = sync.OnceValues(renderDocs)

func renderDocs() (Page, error) {
	d, err := parsed()
	if err != nil {
		return Page{}, err
	}
	style, rest, found := strings.Cut(docsTemplate, "</style>")
	_, style, opened := strings.Cut(style, "<style>")
	if !found || !opened || rest == "" || strings.Contains(style, "{{") {
		return Page{}, fmt.Errorf("api: the page's style is not one fixed element")
	}
	t, err := template.New("docs").Funcs(template.FuncMap{
		"text": renderText, "inline": renderInline, "lower": strings.ToLower, "json": indented, "type": typeName, "deref": func(s *schema) schema { return *s },
	}).Parse(docsTemplate)
	if err != nil {
		return Page{}, fmt.Errorf("api: page of the document: %w", err)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, d); err != nil {
		return Page{}, fmt.Errorf("api: page of the document: %w", err)
	}
	hash := sha256.Sum256([]byte(style))
	return Page{page.Bytes(), "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
}

// parsed is OpenAPI, read once in a process. Nobody changes it.
var parsed = sync.OnceValues(func() (*document, error) { return parseDocument(OpenAPI) })

// parseDocument reads what the page shows, with the references of operations resolved.
func parseDocument(text []byte) (*document, error) {
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("api: read the OpenAPI document: %w", err)
	}
	for i := 0; i+1 < len(d.Paths.Content); i += 2 { // in the document's order
		if err := d.addPath(d.Paths.Content[i].Value, d.Paths.Content[i+1]); err != nil {
			return nil, err
		}
	}
	return &d, nil
}
