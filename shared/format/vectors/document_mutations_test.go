package vectors_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// documentMutations are the checks of a reader of keyset documents and backups, each of which a mutation leaves out.
var documentMutations = []string{
	"iterations of a slot", "iterations of all slots", "other slots than the one out of range", "key id of a slot", "root id", "key id",
	"key id of a KMS", "binding inside", "root id of a KMS", "MAC of a slot", "MAC of a retired slot", "MAC of a key", "MAC of a primary",
	"MAC of a shred", "key of shred records", "environment of a document", "environment of a backup", "MAC of a backup", "MAC of a backup's slot",
}

// A vector catches every check that a reader leaves out, and none catches a reader that makes them all.
func TestDocumentMutations(t *testing.T) {
	require.Empty(t, caught(documentReader{}))
	for _, name := range documentMutations {
		t.Run(name, func(t *testing.T) { require.NotEmpty(t, caught(documentReader{mutation: name})) })
	}
}

// failing collects failures instead of ending the test.
type failing struct{ failed bool }

func (f *failing) Errorf(string, ...any) { f.failed = true }
func (f *failing) FailNow()              { panic(f) }

// caught returns the names of the vectors that a reader does not pass.
func caught(r documentReader) (names []string) {
	for _, v := range vectors.Documents().Documents {
		f := &failing{}
		func() {
			defer func() { _ = recover() }()
			checkDocument(f, v, r)
		}()
		if f.failed {
			names = append(names, v.Name)
		}
	}
	for _, v := range vectors.Documents().Unlocks {
		d, err := envelope.ParseDocument(v.Bytes)
		if err == nil {
			_, err = r.refuse(d, v)
		}
		if tableCode(err) != v.Code {
			names = append(names, v.Name)
		}
	}
	for _, v := range vectors.OfBackups().Refusals {
		b, err := readBackup(v.Bytes)
		if err == nil {
			_, err = r.openBackup(b, v.Environment, 0, v.KEK)
		}
		if tableCode(err) != v.Code {
			names = append(names, v.Name)
		}
	}
	return names
}

func tableCode(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprint(codes.Of(err).Code)
}
