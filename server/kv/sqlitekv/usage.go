package sqlitekv

import (
	"context"
	"fmt"

	"github.com/coffer-storage/coffer/server/kv"
)

var errQuota = fmt.Errorf("sqlitekv: write: %w", kv.ErrQuota)

// The database counts the bytes of each owner's keys and values, in the transactions that change them, so the count is
// exact after a kill as well. An expired entry counts until it is removed, within seconds.
const (
	usageTable = `
CREATE TABLE usage (owner BLOB PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;`

	addUsage = `
INSERT INTO usage (owner, bytes) VALUES (?, ?)
ON CONFLICT (owner) DO UPDATE SET bytes = bytes + excluded.bytes RETURNING bytes`
)

// account adds to the bytes of a key's owner, within a transaction. It returns kv.ErrQuota, and adds nothing, if they grow
// beyond the quota; 0 means no limit.
func (c *conn) account(key string, grow, quota int64) error {
	owner := []byte(kv.OwnerOf(key))
	if len(owner) == 0 || grow == 0 {
		return nil
	}
	used, err := c.Int(addUsage, owner, grow)
	switch {
	case err != nil:
		return err
	case used <= 0:
		return c.Run("DELETE FROM usage WHERE owner = ?", owner)
	case grow > 0 && quota > 0 && used > quota:
		if err := c.account(key, -grow, 0); err != nil {
			return err
		}
		return errQuota
	}
	return nil
}

// Bytes returns the bytes of the keys and values of all owners.
func (s *Store) Bytes(ctx context.Context) (n int64, err error) {
	err = s.read(ctx, "usage", func(c *conn) (err error) {
		n, err = c.Int("SELECT coalesce(sum(bytes), 0) FROM usage")
		return err
	})
	return n, err
}
