package api

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMarkdownOmitsHTML(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a `b*c*` **d**":              "<p>a <code>b*c*</code> <strong>d</strong></p>\n",
		"<script>x</script>":          "<!-- raw HTML omitted -->\n",
		"[a](javascript:x)":           "<p><a href=\"\">a</a></p>\n",
		"| a |\n|---|\n| `<i>` & b |": "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td><code>&lt;i&gt;</code> &amp; b</td>\n</tr>\n</tbody>\n</table>\n",
	} {
		got, err := renderMarkdown(in)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestParseDocumentRefusesBrokenDocuments(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		":", "paths: {/a: {get: 7}}", "paths: {/a: {get: {tags: [none]}}}",
		"tags: [{name: a}]\npaths: {/a: {get: {tags: [a], parameters: [{$ref: '#/x/y'}]}}}",
		"tags: [{name: a}]\npaths: {/a: {get: {tags: [a], responses: {'200': {$ref: '#/x/y'}}}}}",
	} {
		_, err := parseDocument([]byte(text))
		require.Error(t, err, text)
	}
}
