package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// An object has the bytes that package json writes for its Fields.
func TestObjectsAreEncodedAsByPackageJSON(t *testing.T) {
	f := &File{key: testKey, options: Options{PlainContext: []string{"visit", "ward"}}}
	check := func(e Event) {
		t.Helper()
		object := f.appendObject([]byte("before"), &e)
		object, ok := bytes.CutPrefix(object, []byte("before"))
		require.True(t, ok)
		decoder := json.NewDecoder(bytes.NewReader(object))
		decoder.DisallowUnknownFields()
		var r Fields
		require.NoError(t, decoder.Decode(&r))
		want, err := json.Marshal(r)
		require.NoError(t, err)
		require.Equal(t, string(want)+"\n", string(object))
	}
	check(Event{Action: KeyOpen})
	check(Event{Action: auditResumed, lost: 12})
	check(Event{Action: KeyOpen, Code: "authentication_failed", Unknown: true})
	check(Event{Action: KeyOpen, Code: "no such code"})
	texts := []string{"", "plain", "two words/3", "\u2028\u00e9", strings.Repeat("\u00e9", maxText), strings.Repeat("x", maxFrom+1)}
	for c := range 0x80 {
		texts = append(texts, fmt.Sprintf("a%cb", c))
	}
	for _, text := range texts {
		check(Event{
			Action: KeySeal, RequestID: text, Operation: text, Issuer: text, Subject: text, Tenant: text, Class: classify.PHI,
			KeyID: format.KeyID{1, 2}, Name: text, Context: map[string]string{"visit": text, "ward": "7", "name": text, text: "b"},
			Facts: Facts{FactFrom: text, FactTo: text}, Unknown: true,
		})
	}
}

func TestEveryActionHasAName(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range actions {
		require.Regexp(t, `^[a-z]+\.[a-z]+$`, name)
		require.False(t, seen[name])
		seen[name] = true
		require.True(t, MatchesAction(name))
	}
	for _, name := range []string{"", ".", "key", "none."} {
		require.False(t, MatchesAction(name), name)
	}
	require.True(t, MatchesAction("key."))
}

func TestTruncateSplitsNoCharacter(t *testing.T) {
	require.Equal(t, strings.Repeat("a", 254), truncate(255, strings.Repeat("a", 254)+"é"))
	require.Equal(t, "é", truncate(255, "é"))
}
