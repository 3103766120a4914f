package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/shared/codes"
)

func docs(t *testing.T) (page string, policy string) {
	t.Helper()
	html, policy, err := api.RenderDocs()
	require.NoError(t, err)
	return string(html), policy
}

func TestDocsPageShowsWholeDocument(t *testing.T) {
	t.Parallel()
	page, _ := docs(t)
	d := contract(t)
	eachOperation(t, d, func(t *testing.T, path, method string, o *openapi3.Operation) {
		require.Contains(t, page, `<article id="`+o.OperationID+`">`)
		require.Contains(t, page, `href="#`+o.OperationID+`"`)
		require.Contains(t, page, ">"+method+"</span><code>"+path+"</code>")
	})
	for name := range d.Components.Schemas {
		require.Contains(t, page, `id="schema-`+name+`"`)
	}
	for _, row := range codes.Table {
		require.Contains(t, page, "<code>"+row.Code+"</code>")
	}
	for _, link := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		require.Contains(t, page, `id="`+link[1]+`"`, "a link leads somewhere")
	}
}

// The policy of the page allows only its style sheet, and the page loads nothing else.
func TestDocsPageLoadsNothing(t *testing.T) {
	t.Parallel()
	page, policy := docs(t)
	for _, forbidden := range []string{"<script", "style=", "<link", "<img", "@import", "url(", "javascript:", " on", "src="} {
		if forbidden == " on" {
			require.NotRegexp(t, `<[^>]* on[a-z]+=`, page)
			continue
		}
		require.NotContains(t, page, forbidden)
	}
	require.Equal(t, 1, strings.Count(page, "<style>"))
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	hash := sha256.Sum256([]byte(style))
	require.Contains(t, policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'")
	require.Contains(t, policy, "default-src 'none'")
}

// Descriptions are rendered as HTML with correctly nested elements.
func TestDocsPageIsWellFormed(t *testing.T) {
	t.Parallel()
	page, _ := docs(t)
	require.NotContains(t, page, "**")
	require.NotRegexp(t, "`", page)
	require.NotContains(t, page, "ZgotmplZ", "the template engine refused nothing")
	require.NotContains(t, page, "&lt;no value&gt;")
	require.Equal(t, http.DetectContentType([]byte(page)), "text/html; charset=utf-8")
	decoder := xml.NewDecoder(bytes.NewReader([]byte(page)))
	decoder.Strict, decoder.AutoClose, decoder.Entity = false, []string{"meta"}, xml.HTMLEntity
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}
