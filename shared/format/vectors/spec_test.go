package vectors_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

func specification(t *testing.T) string {
	page, err := os.ReadFile("../SPEC.md")
	require.NoError(t, err)
	return string(page)
}

// section returns the text of one top-level section of SPEC.md.
func section(t *testing.T, number int) string {
	_, rest, ok := strings.Cut(specification(t), fmt.Sprintf("\n## %d. ", number))
	require.True(t, ok)
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

var exampleLine = regexp.MustCompile(`(?m)^([a-z][a-z ]*):((?:\s+[0-9a-f]+)+)$`)

// Every value of the worked example equals the result of its formula.
func TestWorkedExampleIsCorrect(t *testing.T) {
	got := map[string]string{}
	for _, m := range exampleLine.FindAllStringSubmatch(section(t, 11), -1) {
		got[m[1]] = strings.Join(strings.Fields(m[2]), "")
	}
	want := map[string]string{}
	for name, b := range example(t) {
		want[name] = hex.EncodeToString(b)
	}
	require.Equal(t, want, got)
}

// example recomputes the worked example from the data key to the package.
func example(t *testing.T) map[string][]byte {
	all := vectors.LoadPackages()
	v := all[slices.IndexFunc(all, func(v vectors.Package) bool { return v.Name == "worked example" })]
	h, err := v.Header.Format()
	require.NoError(t, err)
	p, additional, err := plain.Seal(plain.Input{Key: v.Key, Header: h, Place: v.Place.Format(), Nonce: v.Nonce, Value: v.Value.Bytes()})
	require.NoError(t, err)
	binary, err := p.Append(nil)
	require.NoError(t, err)
	require.True(t, v.Package.Equal(binary))
	id := plain.KeyID(v.Key)
	return map[string][]byte{
		"data key": v.Key, "data key id": id[:], "salt": h.Salt[:], "message key": plain.MessageKey(v.Key, h.Salt),
		"header": v.HeaderBytes.Bytes(), "additional data": additional, "nonce": v.Nonce, "plaintext": v.Value.Bytes(),
		"ciphertext": p.Body[12 : len(p.Body)-16], "tag": p.Body[len(p.Body)-16:], "package": binary,
	}
}

// The error names in SPEC.md are codes of the table.
func TestErrorNamesAreCodes(t *testing.T) {
	names := regexp.MustCompile("(?m)^- `([a-z_]+)`: ").FindAllStringSubmatch(section(t, 9), -1)
	require.Len(t, names, 11)
	for _, m := range names {
		require.GreaterOrEqual(t, codes.Number(m[1]), 0, m[1])
	}
}

// The limits in SPEC.md are those of the code.
func TestLimitsMatchCode(t *testing.T) {
	text := section(t, 8)
	for row, limit := range map[string]int{
		"value of a one-piece package": format.MaxValue, "name": format.MaxName, "owner": format.MaxOwner, "collection": format.MaxCollection,
		"media type": format.MaxMediaType, "file name": format.MaxFileName,
	} {
		require.Contains(t, text, fmt.Sprintf("| %s | %d |", row, limit))
	}
	page := strings.Join(strings.Fields(specification(t)), " ")
	padded := format.Header{Algorithm: format.AES256GCM, Flags: format.Padded}
	for sentence, right := range map[string]bool{
		"at most 253402300799999 (": format.MaxTime == 253402300799999, "revision at most 2^53 - 1": format.MaxRevision == 1<<53-1,
		"at most 64 entries in at most 16,384 bytes": format.MaxContextEntries == 64 && format.MaxContext == 16384,
		"more than 2^24 packages or 2^38 bytes":      format.MaxPackagesPerSalt == 1<<24 && format.MaxBytesPerSalt == 1<<38,
		"more than 2^38 chunks":                      format.MaxChunks == 1<<38,
		"fewer than 100,000 and more":                format.MinIterations == 100_000,
		"than 10,000,000 iterations":                 format.MaxIterations == 10_000_000,
		"Writers use at least 600,000":               classify.MinWriteIterations == 600_000,
		"over 67127595 bytes":                        format.MaxDetails+format.MaxValue+28 == 67127595,
		"over 69206044 if":                           format.CheckBody(&padded, 69206044) == nil && format.CheckBody(&padded, 69206045) != nil,
	} {
		require.Contains(t, page, sentence)
		require.True(t, right, sentence)
	}
}

// The iterations that policy accepts are within the format's bounds.
func TestPolicyIsWithinFormatBounds(t *testing.T) {
	require.EqualValues(t, format.MaxIterations, classify.MaxIterations)
	for _, class := range classify.All {
		require.GreaterOrEqual(t, max(class.Rules().MinReadIterations, format.MinIterations), uint32(format.MinIterations))
		require.Error(t, class.CheckIterations(format.MinIterations-1))
	}
}

// SPEC.md is short enough to be read in one sitting.
func TestSpecificationIsShort(t *testing.T) {
	require.Less(t, len(strings.Fields(specification(t))), 3600)
}

// SPEC.md contains every section that a comment in these packages cites.
func TestCitedSectionsExist(t *testing.T) {
	page := specification(t)
	cited := regexp.MustCompile(`(?:[^/]SPEC\.md|\() ?section (\d+(?:\.\d+)?)\b`)
	seen := 0
	for _, pattern := range []string{"../*.go", "../jsonform/*.go", "*.go", "internal/plain/*.go", "internal/reader/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, m := range cited.FindAllStringSubmatch(string(text), -1) {
				require.Regexp(t, `(?m)^#{2,3} `+regexp.QuoteMeta(m[1])+`\.? `, page, "%s cites section %s", name, m[1])
				seen++
			}
		}
	}
	require.Greater(t, seen, 20)
}
