package sqlitekeys

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
)

// If a database does not open, Repair keeps every document that is not on a damaged page.
func TestRepairOfUnopenableDatabase(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	for name, damage := range map[string]func(content []byte) []byte{
		"a bit of the first page": func(content []byte) []byte { content[1000] ^= 1; return content },
		"the first page":          func(content []byte) []byte { clear(content[:sqlitefile.PageSize]); return content },
		"the end":                 func(content []byte) []byte { return content[:len(content)-1000] },
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), damage(bytes.Clone(d.whole)), 0o600))
		_, err := Open(dir)
		require.ErrorContains(t, err, "run `coffer store repair`", name)
		require.ErrorContains(t, err, dir, name)
		found, err := Repair(t.Context(), dir)
		require.NoError(t, err, name)
		require.NotEmpty(t, found.Damage, name)
		require.GreaterOrEqual(t, found.Read, len(d.documents)-10, name)
		s, err := Open(dir)
		require.NoError(t, err, name)
		read := 0
		for document, err := range keystore.All(t.Context(), s, keystore.Keysets) {
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(d.documents[document.Name], document.Content), name)
			read++
		}
		require.Equal(t, found.Read, read, name)
		require.NoError(t, s.Close())
	}
}

// Repair keeps every document that is not on a damaged page, names the others, and keeps the damaged file.
func TestRepairKeepsReadableDocuments(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	random, kept, named := rand.New(rand.NewPCG(7, 8)), 0, 0
	for range 60 {
		dir := t.TempDir()
		path := filepath.Join(dir, fileName)
		file, at := bytes.Clone(d.whole), random.IntN(len(d.whole))
		file[at] ^= 1 << random.IntN(8)
		require.NoError(t, os.WriteFile(path, file, 0o600))
		checked, err := Check(t.Context(), dir)
		require.NoError(t, err)
		same, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(file, same), "a check changes nothing")
		found, err := Repair(t.Context(), dir)
		require.NoError(t, err)
		require.Equal(t, checked.Damage, found.Damage)
		moved, err := os.ReadFile(filepath.Join(dir, found.Damaged))
		require.NoError(t, err)
		require.True(t, bytes.Equal(file, moved))
		s, err := Open(dir)
		require.NoError(t, err)
		read := 0
		for document, err := range keystore.All(t.Context(), s, keystore.Keysets) {
			require.NoError(t, err)
			require.True(t, bytes.Equal(d.documents[document.Name], document.Content))
			read++
		}
		names, err := s.Due(t.Context(), keystore.Keysets, 1000, 1000)
		require.NoError(t, err)
		require.Len(t, names, read)
		_, _, err = s.Changes(t.Context(), d.position)
		require.ErrorIs(t, err, keystore.ErrFeedLost, "servers reread everything")
		require.NoError(t, s.Close())
		require.Equal(t, found.Read, read)
		whole := read+found.Lost == len(d.documents)
		require.True(t, whole || strings.Contains(fmt.Sprint(found.Damage), "not named here") || read == 0, "byte %d: %+v", at, found)
		if len(found.Damage) == 0 {
			require.Equal(t, len(d.documents), read, "byte %d", at)
		}
		kept, named = kept+read, named+len(found.Names)
	}
	require.Greater(t, kept, 50*len(d.documents))
	require.Positive(t, named)
}

// If only the first page is intact, all documents are lost, and Check and Repair return.
func TestRepairWithoutReadablePages(t *testing.T) {
	t.Parallel()
	d, dir := newDamaged(t), t.TempDir()
	for at := sqlitefile.PageSize + 100; at < len(d.whole); at += sqlitefile.PageSize {
		d.whole[at] ^= 1
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), d.whole, 0o600))
	checked, err := Check(t.Context(), dir)
	require.NoError(t, err)
	require.NotEmpty(t, checked.Damage)
	found, err := Repair(t.Context(), dir)
	require.NoError(t, err)
	require.Zero(t, found.Read)
	checked, err = Check(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, checked.Damage)
}

func TestCheckAndRepairRefuseAMissingFile(t *testing.T) {
	t.Parallel()
	for _, do := range []func() error{
		func() error { _, err := Check(t.Context(), t.TempDir()); return err },
		func() error { _, err := Repair(t.Context(), t.TempDir()); return err },
	} {
		require.ErrorIs(t, do(), fs.ErrNotExist)
	}
}
