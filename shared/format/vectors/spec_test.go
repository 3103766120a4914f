package vectors_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// section returns the text of one top-level section of SPEC.md.
func section(t *testing.T, number int) string {
	page, err := os.ReadFile("../SPEC.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(page), fmt.Sprintf("\n## %d. ", number))
	require.True(t, ok)
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

var exampleLine = regexp.MustCompile(`(?m)^([a-z][a-z ]*):((?:\s+[0-9a-f]+)+)$`)

// Every value that the worked example gives is what the formulas yield.
func TestWorkedExample(t *testing.T) {
	text := section(t, 12)
	want := example(t)
	got := map[string]string{}
	for _, m := range exampleLine.FindAllStringSubmatch(text, -1) {
		got[m[1]] = strings.Join(strings.Fields(m[2]), "")
	}
	for name, b := range want {
		require.Equal(t, hex.EncodeToString(b), got[name], name)
	}
	require.Len(t, got, len(want))

	p, err := format.Parse(want["package"])
	require.NoError(t, err)
	form, err := jsonform.Marshal(p)
	require.NoError(t, err)
	_, block, ok := strings.Cut(text, "```json\n")
	require.True(t, ok)
	block, _, _ = strings.Cut(block, "```")
	require.JSONEq(t, string(form), block)
	read, err := jsonform.Unmarshal([]byte(block))
	require.NoError(t, err)
	require.Equal(t, p, read)
}

// example recomputes the worked example, from the master key of the document "all uses" to the package.
func example(t *testing.T) map[string][]byte {
	v := vectors.Packages()[slices.IndexFunc(vectors.Packages(), func(v vectors.Package) bool { return v.Name == "worked example" })]
	doc := vectors.Documents().Documents[0]
	require.Equal(t, v.Document, doc.Name)
	d, err := envelope.ParseDocument(doc.Bytes)
	require.NoError(t, err)
	h, err := v.Header.Format()
	require.NoError(t, err)
	slot := &d.Slots[slices.IndexFunc(d.Slots, func(s envelope.Slot) bool { return s.Kind == envelope.SlotMasterKey })]
	master, err := base64.StdEncoding.DecodeString(doc.Slots[slices.Index(idsOf(d), slot.ID)].Secret.Text)
	require.NoError(t, err)

	want := map[string][]byte{"master key": master, "slot key": plain.FromMasterKey(master)}
	slotID := plain.KeyID(want["slot key"])
	require.Equal(t, slot.KeyID, slotID)
	rootBinding, keyBinding := d.BindRoot(slot.RootID), d.BindKey(h.Use, h.Class, h.KeyID)
	root, err := plain.Unwrap(want["slot key"], rootBinding, slot.Wrapped)
	require.NoError(t, err)
	wrapped := d.Keyset(h.Use, 5).Keys[0].Wrapped
	key, err := plain.Unwrap(root, keyBinding, wrapped)
	require.NoError(t, err)

	p, additional, err := plain.Seal(plain.Input{Key: key, Header: h, Place: v.Place.Format(), Nonce: v.Nonce, Value: v.Value.Bytes()})
	require.NoError(t, err)
	binary, err := p.Append(nil)
	require.NoError(t, err)
	require.True(t, v.Package.Equal(binary))
	for name, b := range map[string][]byte{
		"slot key id": slotID[:], "slot wrapping key": plain.WrappingKey(want["slot key"]), "root key id": slot.RootID[:],
		"root binding": rootBinding.Append(nil), "wrapped root": slot.Wrapped, "root": root, "root wrapping key": plain.WrappingKey(root),
		"data key binding": keyBinding.Append(nil), "wrapped data key": wrapped, "data key": key, "data key id": h.KeyID[:],
		"salt": h.Salt[:], "message key": plain.MessageKey(key, h.Salt), "header": v.HeaderBytes.Bytes(), "additional data": additional,
		"nonce": v.Nonce, "plaintext": v.Value.Bytes(), "ciphertext": p.Body[12 : len(p.Body)-16], "tag": p.Body[len(p.Body)-16:], "package": binary,
	} {
		want[name] = b
	}
	return want
}

func idsOf(d *envelope.Document) (ids [][16]byte) {
	for i := range d.Slots {
		ids = append(ids, d.Slots[i].ID)
	}
	return ids
}

// The page's error names are the code's.
func TestErrorNames(t *testing.T) {
	names := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section(t, 10), -1)
	require.Greater(t, len(names), 8)
	for _, m := range names {
		require.GreaterOrEqual(t, codes.Number(m[1]), 0, m[1])
	}
}

// The page's limits are the code's.
func TestLimits(t *testing.T) {
	text := section(t, 8)
	for row, limit := range map[string]int{
		"value of a one-piece package": format.MaxValue, "name": format.MaxName, "owner": format.MaxOwner, "collection": format.MaxCollection,
		"encoded context": format.MaxContext, "entries of a context": format.MaxContextEntries, "media type": format.MaxMediaType,
		"file name": format.MaxFileName, "keyset document": envelope.MaxDocument, "environment": envelope.MaxEnvironment,
		"URL of a slot": envelope.MaxURL, "wrapped root of a KMS": envelope.MaxWrapped, "time, milliseconds": format.MaxTime,
		"revision": format.MaxRevision, "packages sealed under one salt": format.MaxPackages, "bytes sealed under one salt": format.MaxBytes,
	} {
		require.Contains(t, text, fmt.Sprintf("| %s | %d |", row, limit))
	}
	require.Contains(t, text, "at most 1,073,741,824 bytes")
	require.EqualValues(t, 1_073_741_824, envelope.MaxBackup)
}

// Every section that a comment in these packages cites is there.
func TestCitations(t *testing.T) {
	page, err := os.ReadFile("../SPEC.md")
	require.NoError(t, err)
	cited := regexp.MustCompile(`(?:SPEC\.md|\() ?section (\d+(?:\.\d+)?)\b`)
	seen := 0
	for _, pattern := range []string{"../*.go", "../jsonform/*.go", "*.go", "internal/plain/*.go", "../../envelope/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, m := range cited.FindAllStringSubmatch(string(text), -1) {
				require.Regexp(t, `(?m)^#{2,3} `+regexp.QuoteMeta(m[1])+`\.? `, string(page), "%s cites section %s", name, m[1])
				seen++
			}
		}
	}
	require.Greater(t, seen, 20)
}
