package sqlitekv

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

var errQuota = fmt.Errorf("sqlitekv: write: %w", kv.ErrQuota)

// The database counts the size of each owner's keys and values in the same transactions that change them, so the count
// is exact even after a kill. An expired entry counts until maintenance removes it, within seconds. If someone edits a
// count in the database, the next write recomputes an impossible one from the entries, and Check reports any other.
const (
	usageTable = `
CREATE TABLE usage (owner BLOB PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;`

	setUsage = `
INSERT INTO usage (owner, bytes) VALUES (?, ?)
ON CONFLICT (owner) DO UPDATE SET bytes = excluded.bytes`
)

// addUsage adds to the usage of a key's owner, within a transaction and before the entry changes. It returns
// kv.ErrQuota, and adds nothing, if the usage would exceed the quota. A quota of 0 means no limit.
func (c *conn) addUsage(key string, grow, quota int64) error {
	owner := kv.OwnerPrefixOf(key)
	used, err := c.usageAfter(key, grow, quota)
	switch {
	case err != nil || owner == "" || grow == 0:
		return err
	case used <= 0:
		return c.Run("DELETE FROM usage WHERE owner = ?", []byte(owner))
	}
	return c.Run(setUsage, []byte(owner), used)
}

// usageAfter returns the usage of a key's owner after a change of grow bytes, or kv.ErrQuota.
func (c *conn) usageAfter(key string, grow, quota int64) (used int64, err error) {
	owner := kv.OwnerPrefixOf(key)
	if owner == "" || grow == 0 {
		return 0, nil
	}
	if used, err = c.Int("SELECT bytes FROM usage WHERE owner = ?", []byte(owner)); err != nil {
		return 0, err
	}
	maxUsage, err := c.databaseSize()
	if err == nil && (used <= 0 || used > maxUsage || used+grow <= 0) {
		used, err = c.recount(owner)
	}
	if used += grow; err == nil && grow > 0 && quota > 0 && used > quota {
		err = errQuota
	}
	return used, err
}

// databaseSize returns the size of the database in bytes, including new pages in the log. No usage can be larger.
func (c *conn) databaseSize() (int64, error) {
	pages, err := c.Int("PRAGMA page_count")
	return pages * pageSize, err
}

// recount computes the usage of an owner from its entries. It omits entries with an impossible size.
func (c *conn) recount(owner string) (n int64, err error) {
	err = c.forEach("SELECT length(key), size FROM entries WHERE key >= ? AND key < ?", func(row *sqlite3.Stmt) {
		if size := row.ColumnInt64(1); size >= 0 && size <= kv.MaxValueSize {
			n += row.ColumnInt64(0) + size
		}
	}, []byte(owner), prefixEnd(owner))
	if err == nil && n > 0 {
		err = c.Run(setUsage, []byte(owner), n)
	}
	return n, err
}

// Bytes returns the size of the keys and values of all owners in bytes. An impossible count adds no more than the size
// of the database.
func (s *Store) Bytes(ctx context.Context) (n int64, err error) {
	err = s.withReader(ctx, "usage", func(c *conn) error {
		maxBytes, err := c.databaseSize()
		if err == nil {
			n, err = c.Int("SELECT min(total(min(max(bytes, 0), ?1)), ?1) FROM usage", maxBytes) // unlike sum, total does not overflow
		}
		return err
	})
	return n, err
}
