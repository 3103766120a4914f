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
	c := testKey.newChain()
	lines = c.appendLine(nil, &at, []byte(`{"action":"key.open"}`))
	return c.appendLine(lines, &at, []byte(`{"action":"key.seal"}`)), at
}

// FuzzParseLink: a line has one form; and whatever is read, only what the key made is taken.
func FuzzParseLink(f *testing.F) {
	good, at := twoLines()
	f.Add(good)
	f.Add([]byte(`{"v":1,"seq":1,"action":"key.open","mac":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := walk{chain: testKey.newChain()}
		read := 0
		for lines := newPieces(bytes.NewReader(text)); ; {
			p, err := lines.next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			read += len(p.text)
			if l, ok := parseLink(p.line()); ok {
				again := append(append(slices.Clone(l.body), macBegin+l.MAC.String()+macEnd...), bytes.TrimPrefix(p.text, p.line())...)
				require.Equal(t, p.text, again)
				require.NotZero(t, l.Seq)
			}
			if !w.take(p) {
				return
			}
		}
		require.Equal(t, len(text), read)
		require.Equal(t, int64(read), w.end+w.rest.bytes)
		if w.at.Seq == at.Seq {
			require.Equal(t, at, w.at)
			require.True(t, bytes.HasPrefix(text, good))
		}
		require.LessOrEqual(t, w.at.Seq, at.Seq)
	})
}

// FuzzHead: no head is taken but what the key made.
func FuzzHead(f *testing.F) {
	h := Head{Anchor: Anchor{Seq: 7, MAC: MAC{1}}, File: "audit.log", From: Anchor{Seq: 3, MAC: MAC{2}}, offset: 99}
	good := h.marshal(testKey)
	f.Add(good)
	f.Add([]byte(`{"v":1,"mac":"` + strings.Repeat("0", 64) + "\"}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var got Head
		if got.unmarshal(testKey, text) == nil {
			require.Equal(t, good, text)
			require.Equal(t, []any{h.Anchor, h.From, h.File, h.offset}, []any{got.Anchor, got.From, got.File, got.offset})
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
		b := newBackward(bytes.NewReader(text), at)
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
