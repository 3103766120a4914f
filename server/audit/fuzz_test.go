package audit

import (
	"bytes"
	"io"
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
	lines = c.appendLine(nil, &at, "", []byte(`{"action":"key.open"}`))
	return c.appendLine(lines, &at, Heads{{Chain: 2, Seq: 7}}.String(), []byte(`{"action":"key.seal"}`)), at
}

// FuzzParseLink: a line has one form; and whatever is read, only lines that the key made are taken.
func FuzzParseLink(f *testing.F) {
	good, at := twoLines()
	f.Add(good)
	f.Add([]byte(`{"v":1,"chain":1,"seq":1,"action":"key.open","mac":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := walk{linker: testKey.newLinker(), at: Anchor{Chain: 1}}
		for line := range bytes.Lines(text) {
			p := piece{text: line, whole: bytes.HasSuffix(line, []byte{'\n'})}
			if l, ok := parseLink(p.line()); ok {
				again := append(append(slices.Clone(l.body), macBegin+l.MAC.String()+macEnd...), bytes.TrimPrefix(p.text, p.line())...)
				require.Equal(t, p.text, again)
				require.NotZero(t, l.Seq)
				l.heads()
			}
			if !w.take(p) {
				return
			}
		}
		if w.at.Seq == at.Seq {
			require.Equal(t, at, w.at)
			require.True(t, bytes.HasPrefix(text, good))
		}
		require.LessOrEqual(t, w.at.Seq, at.Seq)
	})
}

// FuzzHead: only a head that the key made is taken.
func FuzzHead(f *testing.F) {
	h := head{Head: Anchor{1, 7, MAC{1}}, File: 1, Offset: 99, From: Anchor{1, 3, MAC{2}}, Pruned: 1}
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
		b := &backward{file: bytes.NewReader(text), at: at}
		for _, line := range want {
			got, start, err := b.next()
			require.NoError(t, err)
			require.Equal(t, bytes.TrimSuffix(line, []byte{'\n'}), slices.Clone(got))
			at -= int64(len(line))
			require.Equal(t, at, start)
		}
		_, _, err := b.next()
		require.ErrorIs(t, err, io.EOF)
	})
}
