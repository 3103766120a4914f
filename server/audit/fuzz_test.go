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
	c := testKey.newLinker()
	at.Chain = 1
	lines = c.appendLine(nil, &at, []byte(`{"action":"key.open"}`))
	return c.appendLine(lines, &at, []byte(`{"action":"key.seal"}`)), at
}

// FuzzParseLink: a line has one form; and whatever is read, only lines that the key made are taken.
func FuzzParseLink(f *testing.F) {
	good, at := twoLines()
	f.Add(good)
	f.Add([]byte(`{"v":1,"chain":1,"seq":1,"action":"key.open","mac":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte{'\n'})
			if l, ok := parseLink(line); ok {
				require.Equal(t, line, append(slices.Clone(l.body), macBegin+l.MAC.String()+macEnd...))
				require.NotZero(t, l.Seq)
			}
		}
		file := filepath.Join(t.TempDir(), "1.log")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		r, n := reader{testKey.newLinker(), Anchor{Chain: 1}}, uint64(0)
		e, err := r.read(t.Context(), logFile{path: file, size: int64(len(text))}, 0, func([]byte) { n++ })
		require.NoError(t, err)
		require.Equal(t, n, r.at.Seq)
		if r.at.Seq == at.Seq {
			require.Equal(t, at, r.at)
			require.True(t, bytes.HasPrefix(text, good))
		}
		require.LessOrEqual(t, r.at.Seq, at.Seq)
		require.Equal(t, e == nil, len(text) == 0 || bytes.Equal(text, good) || bytes.Equal(text, good[:bytes.IndexByte(good, '\n')+1]))
	})
}

// FuzzHead: only a head that the key made is taken.
func FuzzHead(f *testing.F) {
	h := head{Log: "log", Ends: [2]place{{Anchor{1, 7, MAC{1}}, 1, 99}}, From: Anchor{1, 3, MAC{2}}, Pruned: 1}
	good := testKey.seal(&h)
	f.Add(good)
	f.Add([]byte(`{"v":1,"mac":"` + strings.Repeat("0", 64) + "\"}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var got head
		if testKey.unseal(text, &got) {
			require.Equal(t, good, text)
			require.Equal(t, h, got)
			return
		}
		require.NotEqual(t, good, text)
	})
}

// FuzzBackward: lines read backwards are those that are read forwards.
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
		for got, err := range backward(bytes.NewReader(text), at) {
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
