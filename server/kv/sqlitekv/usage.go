package sqlitekv

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

var errQuota = fmt.Errorf("sqlitekv: write: %w", kv.ErrQuota)

// The database counts the bytes of each owner's keys and values, in the transactions that change them, so the count is
// exact after a kill as well. An expired entry counts until it is removed, within seconds. Somebody with an editor of databases can change
// a count: the next write computes an impossible one again from the entries, and a check finds every other one.
const (
	usageTable = `
CREATE TABLE usage (owner BLOB PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;`

	setUsage = `
INSERT INTO usage (owner, bytes) VALUES (?, ?)
ON CONFLICT (owner) DO UPDATE SET bytes = excluded.bytes`
)

// account adds to the bytes of a key's owner, within a transaction and before the entry changes. It returns kv.ErrQuota, and adds nothing,
// if they grow beyond the quota; 0 means no limit.
func (c *conn) account(key string, grow, quota int64) error {
	owner := kv.OwnerPrefixOf(key)
	used, err := c.grown(key, grow, quota)
	switch {
	case err != nil || owner == "" || grow == 0:
		return err
	case used <= 0:
		return c.Run("DELETE FROM usage WHERE owner = ?", []byte(owner))
	}
	return c.Run(setUsage, []byte(owner), used)
}

// grown returns what account makes of the bytes of a key's owner, or kv.ErrQuota.
func (c *conn) grown(key string, grow, quota int64) (used int64, err error) {
	owner := kv.OwnerPrefixOf(key)
	if owner == "" || grow == 0 {
		return 0, nil
	}
	if used, err = c.Int("SELECT bytes FROM usage WHERE owner = ?", []byte(owner)); err != nil {
		return 0, err
	}
	most, err := c.size()
	if err == nil && (used <= 0 || used > most || used+grow <= 0) {
		used, err = c.recount(owner)
	}
	if used += grow; err == nil && grow > 0 && quota > 0 && used > quota {
		err = errQuota
	}
	return used, err
}

// size returns the bytes of the database and its log's new pages. No sum is greater.
func (c *conn) size() (int64, error) {
	pages, err := c.Int("PRAGMA page_count")
	return pages * pageSize, err
}

// recount computes the count of an owner from its entries. It leaves out those that have an impossible size.
func (c *conn) recount(owner string) (n int64, err error) {
	err = c.each("SELECT length(key), size FROM entries WHERE key >= ? AND key < ?", func(row *sqlite3.Stmt) {
		if size := row.ColumnInt64(1); size >= 0 && size <= kv.MaxValueSize {
			n += row.ColumnInt64(0) + size
		}
	}, []byte(owner), end(owner))
	if err == nil && n > 0 {
		err = c.Run(setUsage, []byte(owner), n)
	}
	return n, err
}

// Bytes returns the bytes of the keys and values of all owners. An impossible count adds no more than the size of the database.
func (s *Store) Bytes(ctx context.Context) (n int64, err error) {
	err = s.read(ctx, "usage", func(c *conn) error {
		most, err := c.size()
		if err == nil {
			n, err = c.Int("SELECT min(total(min(max(bytes, 0), ?1)), ?1) FROM usage", most) // total does not overflow
		}
		return err
	})
	return n, err
}
