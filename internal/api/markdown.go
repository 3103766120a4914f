package api

import (
	"fmt"
	"html/template"
	"regexp"
	"strings"
)

// The document's descriptions are CommonMark, of which this renders what they use: paragraphs, headings,
// lists, tables, code.

var (
	inlineCode = regexp.MustCompile("`([^`]+)`")
	strong     = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	emphasis   = regexp.MustCompile(`\*([^*` + "`" + `]+)\*`)
)

// renderInline renders one run of text. It is escaped first, so that nothing in it is markup but what is made here.
func renderInline(text string) template.HTML {
	var b strings.Builder
	rest := template.HTMLEscapeString(strings.TrimSpace(text))
	for {
		at := inlineCode.FindStringSubmatchIndex(rest)
		if at == nil {
			b.WriteString(stress(rest))
			return template.HTML(b.String())
		}
		b.WriteString(stress(rest[:at[0]]) + "<code>" + rest[at[2]:at[3]] + "</code>")
		rest = rest[at[1]:]
	}
}

func stress(text string) string {
	return emphasis.ReplaceAllString(strong.ReplaceAllString(text, "<strong>$1</strong>"), "<em>$1</em>")
}

// renderText renders blocks, which empty lines part; code between fences may hold empty lines.
func renderText(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "```") {
		if i%2 == 1 {
			b.WriteString("<pre>" + template.HTMLEscapeString(strings.Trim(part, "\n")) + "</pre>\n")
			continue
		}
		for _, block := range strings.Split(part, "\n\n") {
			if block = strings.Trim(block, "\n"); block != "" {
				b.WriteString(renderBlock(block) + "\n")
			}
		}
	}
	return template.HTML(b.String())
}

func renderBlock(block string) string {
	switch {
	case strings.HasPrefix(block, "## "):
		return "<h3>" + string(renderInline(block[3:])) + "</h3>"
	case strings.HasPrefix(block, "- "):
		return renderList(block)
	case strings.HasPrefix(block, "|"):
		return renderTable(block)
	}
	return "<p>" + string(renderInline(strings.ReplaceAll(block, "\n", " "))) + "</p>"
}

func renderList(block string) string {
	var b strings.Builder
	b.WriteString("<ul>")
	for _, item := range strings.Split("\n"+block, "\n- ")[1:] {
		b.WriteString("<li>" + string(renderInline(strings.ReplaceAll(item, "\n", " "))) + "</li>")
	}
	return b.String() + "</ul>"
}

// renderTable renders a table whose second line rules off its head.
func renderTable(block string) string {
	var b strings.Builder
	b.WriteString(`<div class="wide"><table>`)
	for i, line := range strings.Split(block, "\n") {
		if i == 1 {
			continue
		}
		cell := "td"
		if i == 0 {
			cell = "th"
		}
		b.WriteString("<tr>")
		for _, text := range strings.Split(strings.Trim(line, "| "), "|") {
			fmt.Fprintf(&b, "<%s>%s</%s>", cell, renderInline(text), cell)
		}
		b.WriteString("</tr>")
	}
	return b.String() + "</table></div>"
}

// typeName says what a schema takes, linked where it has a name.
func typeName(s schema) template.HTML {
	switch {
	case s.Ref != "":
		name := template.HTMLEscapeString(refName(s.Ref))
		return template.HTML(`<a href="#schema-` + name + `">` + name + `</a>`)
	case s.Items != nil:
		return "array of " + typeName(*s.Items)
	case len(s.AllOf) > 0:
		return typeName(s.AllOf[0])
	case len(s.OneOf) > 0 && s.Type == "":
		names := make([]string, len(s.OneOf))
		for i, one := range s.OneOf {
			names[i] = string(typeName(one))
		}
		return template.HTML(strings.Join(names, " or "))
	case s.Format != "":
		return template.HTML(template.HTMLEscapeString(s.Type + " (" + s.Format + ")"))
	}
	return template.HTML(template.HTMLEscapeString(s.Type))
}
