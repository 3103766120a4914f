// Command gen writes the test vectors into a folder. Its output is deterministic: every key, salt and nonce is derived
// from a fixed seed and the name of its vector, and every time is fixed. So running it again changes nothing, and adding
// a vector does not change the others.
package main

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/format/vectors"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FOLDER")
		os.Exit(2)
	}
	for name, text := range generate() {
		if err := os.WriteFile(filepath.Join(os.Args[1], name), text, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// generate returns the contents of the files by name.
func generate() map[string][]byte {
	rings := newValidDocuments()
	return map[string][]byte{
		"packages.json":  encodeList(grid(rings)),
		"special.json":   encodeList(special(rings)),
		"variants.json":  encodeList(variants()),
		"rules.json":     encodeLists(rules(rings)),
		"documents.json": encodeLists(documents(rings)),
		"merges.json":    encodeList(merges()),
		"backups.json":   encodeLists(backups(rings)),
		"invalid.json": encodeLists(vectors.Refusals{
			Binary: refusedBytes(), JSON: refusedTexts(), Open: refusedOpens(rings), Decode: refusedValues(rings),
		}),
	}
}

// draw returns n pseudorandom bytes that depend only on the label.
func draw(n int, label string) []byte {
	return must(hkdf.Key(sha256.New, []byte("coffer/v1 test vectors"), nil, label, n))
}

// must returns v and panics if err is not nil. The generator's input is fixed, so no error is expected.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// encodeList encodes a list with one element per line.
func encodeList[T any](list []T) []byte {
	var b bytes.Buffer
	for i := range list {
		b.WriteString(map[bool]string{true: "[\n", false: ",\n"}[i == 0])
		b.Write(encodeASCII(list[i]))
	}
	b.WriteString("\n]\n")
	return b.Bytes()
}

// encodeLists encodes an object of lists with one element per line.
func encodeLists(v any) []byte {
	var fields map[string][]json.RawMessage
	text := encodeASCII(v)
	if err := json.Unmarshal(text, &fields); err != nil {
		panic(err)
	}
	var b bytes.Buffer
	for i, name := range memberOrder(text, fields) {
		b.WriteString(map[bool]string{true: "{\n", false: ",\n"}[i == 0])
		fmt.Fprintf(&b, "%q: ", name)
		b.Write(bytes.TrimSpace(encodeList(fields[name])))
	}
	b.WriteString("\n}\n")
	return b.Bytes()
}

// memberOrder returns the names of fields in the order in which they occur in text.
func memberOrder(text []byte, fields map[string][]json.RawMessage) []string {
	names := make([]string, 0, len(fields))
	d := json.NewDecoder(bytes.NewReader(text))
	for must(d.Token()); d.More(); {
		names = append(names, must(d.Token()).(string))
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			panic(err)
		}
	}
	return names
}

// encodeASCII encodes v in ASCII, so that no editor normalises or reorders its text.
func encodeASCII(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	var ascii strings.Builder
	for _, r := range strings.TrimSpace(b.String()) {
		if r < utf8.RuneSelf {
			ascii.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&ascii, `\u%04x`, unit)
		}
	}
	return []byte(ascii.String())
}
