package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/fuzztest"
)

func TestFuzzTargetsHaveSeeds(t *testing.T) { fuzztest.RequireSeeds(t) }

func twoLines() (lines []byte, at Anchor) {
	c := testKey.newLineMAC()
	at.Chain = 1
	lines = c.appendLine(nil, &at, []byte(`{"action":"key.open"}`))
	return c.appendLine(lines, &at, []byte(`{"action":"key.seal"}`)), at
}

// FuzzParseLink checks that a line has one form, and that only lines that were made with the key are accepted.
func FuzzParseLink(f *testing.F) {
	good, at := twoLines()
	f.Add(good)
	f.Add([]byte(`{"v":1,"chain":1,"seq":1,"action":"key.open","mac":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte{'\n'})
			if l, ok := parseChainedLine(line); ok {
				require.Equal(t, line, append(slices.Clone(l.body), macBegin+l.MAC.String()+macEnd...))
				require.NotZero(t, l.Seq)
			}
		}
		file := filepath.Join(t.TempDir(), "1.log")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		r, n := chainReader{testKey.newLineMAC(), Anchor{Chain: 1}}, uint64(0)
		e, err := r.readFile(t.Context(), logFile{path: file, size: int64(len(text))}, 0, func([]byte) { n++ })
		require.NoError(t, err)
		require.Equal(t, n, r.last.Seq)
		if r.last.Seq == at.Seq {
			require.Equal(t, at, r.last)
			require.True(t, bytes.HasPrefix(text, good))
		}
		require.LessOrEqual(t, r.last.Seq, at.Seq)
		require.Equal(t, e == nil, len(text) == 0 || bytes.Equal(text, good) || bytes.Equal(text, good[:bytes.IndexByte(good, '\n')+1]))
	})
}

// FuzzHead checks that only a head that was made with the key is accepted.
func FuzzHead(f *testing.F) {
	h := head{Log: "log", Ends: [2]chainEnd{{Anchor{1, 7, MAC{1}}, 1, 99}}, Start: Anchor{1, 3, MAC{2}}, LastPruned: 1}
	good := testKey.encodeAuthenticated(&h)
	f.Add(good)
	f.Add([]byte(`{"v":1,"mac":"` + strings.Repeat("0", 64) + "\"}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var got head
		if testKey.decodeAuthenticated(text, &got) {
			require.Equal(t, good, text)
			require.Equal(t, h, got)
			return
		}
		require.NotEqual(t, good, text)
	})
}

// FuzzBackward checks that reading backward and forward yields the same lines.
func FuzzBackward(f *testing.F) {
	f.Add([]byte("a\nbc\n\nd"), uint8(0))
	f.Add([]byte("a\n\n"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, times uint8) {
		text = bytes.Repeat(text, 1+int(times)*97)
		for line := range bytes.Lines(text) {
			if len(line) > maxLine {
				return
			}
		}
		want := slices.Collect(bytes.Lines(text))
		slices.Reverse(want)
		at := int64(len(text))
		for got, err := range readBackward(bytes.NewReader(text), at) {
			require.NoError(t, err)
			require.NotEmpty(t, want)
			require.Equal(t, bytes.TrimSuffix(want[0], []byte{'\n'}), slices.Clone(got.line))
			at -= int64(len(want[0]))
			require.Equal(t, at, got.start)
			want = want[1:]
		}
		require.Empty(t, want)
	})
}
