package main

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/internal/identity"
)

// escapingWriter escapes characters that a terminal must not get: control characters, including C1, which can control it, format characters,
// which can reverse the order of text, and invisible ones, which make different names look the same. It writes them as \uXXXX, which does
// not change the meaning of JSON. It is not safe for concurrent use.
type escapingWriter struct {
	to      io.Writer
	partial []byte // the first bytes of a character that is not complete yet
}

// Write implements io.Writer.
func (p *escapingWriter) Write(text []byte) (int, error) {
	whole := text
	if len(p.partial) > 0 {
		whole = append(p.partial, text...)
		p.partial = nil
	}
	if end := completeRunes(whole); end < len(whole) {
		p.partial = bytes.Clone(whole[end:])
		whole = whole[:end]
	}
	if _, err := p.to.Write(escape(whole)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// completeRunes returns the length of text without an incomplete character at its end.
func completeRunes(text []byte) int {
	for i := len(text) - 1; i >= 0 && i >= len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				return i
			}
			break
		}
	}
	return len(text)
}

// escape returns the escaped text; the same slice if there is nothing to escape.
func escape(text []byte) []byte {
	if bytes.IndexFunc(text, unprintable) < 0 && utf8.Valid(text) {
		return text
	}
	out := make([]byte, 0, len(text)+16)
	for _, r := range string(text) {
		switch {
		case !unprintable(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func unprintable(r rune) bool {
	return r != '\n' && r != '\t' && (!unicode.IsGraphic(r) || identity.IsInvisible(r))
}
