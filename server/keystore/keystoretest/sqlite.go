package keystoretest

import (
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
)

// Put replaces a document, whatever its content is; nil removes it.
func Put(t testing.TB, s keystore.Store, kind keystore.Kind, name string, content []byte) {
	t.Helper()
	for swapped := false; !swapped; {
		old, err := s.Get(t.Context(), kind, name)
		require.NoError(t, err)
		swapped, err = s.Swap(t.Context(), kind, name, old, content, 0)
		require.NoError(t, err)
	}
}

// DeleteSilently removes a document from a database of package sqlitekeys without an entry in the feed, as an
// operator who edits the database does.
func DeleteSilently(t testing.TB, dir string, kind keystore.Kind, name string) {
	t.Helper()
	ExecSQL(t, dir, "DELETE FROM documents WHERE kind = "+sqlite3.Quote(string(kind))+" AND name = CAST("+sqlite3.Quote(name)+" AS BLOB)")
}

// ExecSQL executes SQL in the database of package sqlitekeys in a directory.
func ExecSQL(t testing.TB, dir, sql string) {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.Join(dir, "keys.db"))
	require.NoError(t, err)
	require.NoError(t, c.Exec("PRAGMA busy_timeout = 10000"))
	require.NoError(t, c.Exec(sql))
	require.NoError(t, c.Close())
}

// CopyDocuments copies the documents of a kind from a store in memory to a database of package sqlitekeys, in one
// transaction and without entries in the feed.
func CopyDocuments(t testing.TB, dir string, from *Memory, kind keystore.Kind) {
	t.Helper()
	from.mu.Lock()
	defer from.mu.Unlock()
	c, err := sqlite3.Open("file:" + filepath.Join(dir, "keys.db"))
	require.NoError(t, err)
	require.NoError(t, c.Exec("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE"))
	insert, _, err := c.Prepare("INSERT INTO documents (kind, name, due, content) VALUES (?, ?, ?, ?)")
	require.NoError(t, err)
	for key, one := range from.documents {
		if key.Kind == kind {
			require.NoError(t, insert.BindText(1, string(kind)))
			require.NoError(t, insert.BindBlob(2, []byte(key.Name)))
			require.NoError(t, insert.BindInt64(3, one.due))
			require.NoError(t, insert.BindBlob(4, one.content))
			require.NoError(t, insert.Exec())
		}
	}
	require.NoError(t, insert.Close())
	require.NoError(t, c.Exec("COMMIT"))
	require.NoError(t, c.Close())
}
