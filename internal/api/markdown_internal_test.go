package api

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMarkdown(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                  "",
		"a `b*c*` *d* **e**":                "<p>a <code>b*c*</code> <em>d</em> <strong>e</strong></p>\n",
		"<b> `<i>` & \"":                    "<p>&lt;b&gt; <code>&lt;i&gt;</code> &amp; &#34;</p>\n",
		"one\ntwo\n\nthree":                 "<p>one two</p>\n<p>three</p>\n",
		"## Head":                           "<h3>Head</h3>\n",
		"- a\n  more\n- b":                  "<ul><li>a   more</li><li>b</li></ul>\n",
		"```\n<a>\n\nb\n```":                "<pre>&lt;a&gt;\n\nb</pre>\n",
		"| a | b |\n|---|---|\n| `c` | d |": `<div class="wide"><table><tr><th>a</th><th>b</th></tr><tr><td><code>c</code></td><td>d</td></tr></table></div>` + "\n",
	} {
		require.Equal(t, want, string(renderText(in)))
	}
}

func TestBrokenDocuments(t *testing.T) {
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
