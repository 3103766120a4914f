package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// hostile is what an OIDC provider, a client or a file may put into a name: C0 and C1 controls, bidirectional overrides, a tag character, a variation selector.
const hostile = "Jürgen 東京\ufe0f\x1b[2J\u009b31m\u202eevil\u2066\U000e0041\r\x7f"

// Writes may end within a character. JSON keeps its meaning.
func TestEscapingWriterEscapesControlCharacters(t *testing.T) {
	quoted, err := json.Marshal(hostile)
	require.NoError(t, err)
	for _, size := range []int{1, 2, 3, 5, 1000} {
		var out bytes.Buffer
		p := &escapingWriter{to: &out}
		for text := quoted; len(text) > 0; {
			n, err := p.Write(text[:min(size, len(text))])
			require.NoError(t, err)
			text = text[n:]
		}
		for _, r := range out.String() {
			require.True(t, unicode.IsGraphic(r) && r != '\ufe0f', "%q", r)
		}
		require.Contains(t, out.String(), "Jürgen 東京")
		var back string
		require.NoError(t, json.Unmarshal(out.Bytes(), &back))
		require.Equal(t, hostile, back, size)
	}
}

// Some terminals interpret such bytes as C1 controls.
func TestEscapingWriterKeepsLinesAndEscapesInvalidUTF8(t *testing.T) {
	var out bytes.Buffer
	_, err := (&escapingWriter{to: &out}).Write([]byte("a\tb\nc\x9bd\n"))
	require.NoError(t, err)
	require.Equal(t, "a\tb\nc\ufffdd\n", out.String())
}
