package sqlitekv

import (
	"context"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
)

// chunkSize is how many bytes of a value are stored in its row of entries. A blob has the rest.
const chunkSize = 64 << 10

var schema = sqlitefile.Schema{
	Version: 3,
	Layout:  "PRAGMA auto_vacuum = INCREMENTAL",
	Pragmas: `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA temp_store = MEMORY;
PRAGMA cell_size_check = ON;
PRAGMA wal_autocheckpoint = 0;
PRAGMA journal_size_limit = 25165824;`,
	Tables: `
CREATE TABLE entries (
	id      INTEGER PRIMARY KEY,
	key     BLOB NOT NULL UNIQUE,
	expires INTEGER NOT NULL, -- Unix milliseconds; 0: never
	size    INTEGER NOT NULL, -- of the whole value
	blob    INTEGER NOT NULL, -- with the rest of the value; 0: there is none
	value   BLOB NOT NULL     -- its first chunk
) STRICT;
CREATE INDEX expiring ON entries (expires) WHERE expires > 0;
CREATE UNIQUE INDEX blobs ON entries (blob) WHERE blob > 0;
CREATE TABLE store (
	id    TEXT NOT NULL,
	clock INTEGER NOT NULL -- Unix milliseconds; see clock
) STRICT;
INSERT INTO store VALUES (lower(hex(randomblob(16))), 0);` + usageTable + blobTables,
}

// conn is a connection. One goroutine uses it at a time.
type conn struct {
	*sqlitefile.Conn
	clock  *clock
	waited time.Duration // how long the caller waited for the connection that writes
}

// forEach calls do for each row of a query.
func (c *conn) forEach(query string, do func(row *sqlite3.Stmt), args ...any) error {
	for row, err := range c.Rows(query, args...) {
		if err != nil {
			return err
		}
		do(row)
	}
	return nil
}

// connect opens a connection.
func (s *Store) connect() (*conn, error) {
	opened, err := s.index.Open(context.Background(), schema)
	if err != nil {
		return nil, s.mapError("open", err)
	}
	c := &conn{Conn: opened, clock: &s.clock}
	s.conns = append(s.conns, c)
	return c, nil
}
