package sqlitekeys

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// damaged is a store with many documents. Tests damage copies of its file.
type damaged struct {
	whole     []byte
	documents map[string][]byte
	position  keystore.Position
}

func newDamaged(t *testing.T) *damaged {
	dir, d := t.TempDir(), &damaged{documents: map[string][]byte{}}
	s := open(t, dir)
	d.position = keystoretest.CurrentPosition(t, s)
	require.NoError(t, s.transact(t.Context(), write, s.path, func(c *sqlitefile.Conn) error {
		for i := range 300 {
			name := fmt.Sprint("tenant-", i)
			d.documents[name] = bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, 100+i*4)
			if err := change(c, keystore.Keysets, name, d.documents[name], int64(i+1)); err != nil {
				return err
			}
		}
		return nil
	}))
	var err error
	d.whole, err = os.ReadFile(filepath.Join(dir, fileName))
	require.NoError(t, err)
	return d
}

// look reads a whole store by every method. Everything that it reads without an error must be right and complete.
func (d *damaged) look(t *testing.T, file []byte) (readable int, failed error) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), file, 0o600))
	s, err := Open(dir)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	note := func(err error) bool {
		if err != nil {
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			require.ErrorContains(t, err, fileName)
			failed = err
		}
		return err == nil
	}
	for name, want := range d.documents {
		if content, err := s.Get(t.Context(), keystore.Keysets, name); note(err) {
			require.True(t, bytes.Equal(want, content), "%s is missing or another one", name)
			readable++
		} else {
			_, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte("new"), 0)
			require.ErrorIs(t, err, keystore.ErrUnavailable)
		}
	}
	listed, unlisted := 0, false
	for document, err := range keystore.All(t.Context(), s, keystore.Keysets) {
		if note(err) {
			require.True(t, bytes.Equal(d.documents[document.Name], document.Content))
		} else if document.Name == "" {
			unlisted = true
			continue
		}
		listed++
	}
	require.True(t, listed == len(d.documents) || unlisted)
	if names, err := s.Due(t.Context(), keystore.Keysets, 1000, 1000); note(err) {
		require.Len(t, names, len(d.documents))
	}
	if changes, _, err := s.Changes(t.Context(), d.position); note(err) {
		require.Len(t, changes, len(d.documents))
	}
	return readable, failed
}

// Damage at any place of the file is an error of the documents there. No document is missing or replaced by another
// one.
func TestDamageIsNeverSilent(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	readable, err := d.look(t, d.whole)
	require.NoError(t, err)
	require.Equal(t, len(d.documents), readable)
	random, harmless, most := rand.New(rand.NewPCG(1, 2)), 0, 0
	for range 80 {
		file := bytes.Clone(d.whole)
		file[random.IntN(len(file))] ^= 1 << random.IntN(8)
		readable, err := d.look(t, file)
		if err == nil { // in a page that is not used
			harmless++
		}
		if readable >= len(d.documents)-10 {
			most++
		}
	}
	require.Less(t, harmless, 5)
	require.Greater(t, most, 60, "other documents can be read")
}

// A file that is cut short, or has a page in the place of another one, is an error.
func TestTruncatedOrMixedFileIsAnError(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	const page = sqlitefile.PageSize
	for _, size := range []int{1, 99, 100, page - 1, page, page + 1, len(d.whole) / 2, len(d.whole) - page, len(d.whole) - 2000, len(d.whole) - 1} {
		_, err := d.look(t, d.whole[:size])
		require.Error(t, err, size)
	}
	for n := 1; n < len(d.whole)/page; n += 7 {
		file := bytes.Clone(d.whole)
		copy(file[n*page:(n+1)*page], make([]byte, page))
		_, err := d.look(t, file)
		require.Error(t, err, "page %d is empty", n)
	}
}
