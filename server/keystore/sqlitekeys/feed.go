package sqlitekeys

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/server/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
)

const (
	// feedLength is how many changes the feed keeps at least. A reader that fell behind by more rereads everything.
	feedLength = 100_000
	// feedPage is how many changes are read, and trimmed, at once.
	feedPage = 1000

	firstEntries = "SELECT place, id, kind, name FROM feed WHERE place >= ? ORDER BY place LIMIT ?"
	lastEntry    = "SELECT place, id FROM feed ORDER BY place DESC LIMIT 1"
)

// Changes implements keystore.Store. A position is the place of the last entry that was read and its random id. A feed
// that was trimmed beyond it, or that another history of the file replaced, does not contain that entry.
func (s *Store) Changes(ctx context.Context, since keystore.Position) (changes []keystore.Change, next keystore.Position, err error) {
	var place int64
	query, args := lastEntry, []any{}
	if since != "" {
		if _, err := fmt.Sscan(string(since), &place); err != nil {
			return nil, "", keystore.ErrFeedLost
		}
		query, args = firstEntries, []any{place, int64(feedPage + 1)}
	}
	err = s.transact(ctx, read, s.path, func(c *sqlitefile.Conn) error {
		for row, err := range c.Rows(query, args...) {
			if err != nil {
				return err
			}
			at := keystore.Position(fmt.Sprintf("%d %d", row.ColumnInt64(0), row.ColumnInt64(1)))
			if since != "" && next == "" && at != since {
				return nil
			}
			if next != "" {
				changes = append(changes, keystore.Change{Kind: keystore.Kind(row.ColumnText(2)), Name: string(row.ColumnRawBlob(3))})
			}
			next = at
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, "", err
	case next == "" && since == "":
		return nil, "", s.failed(s.path, errors.New("the feed is empty"))
	case next == "":
		return nil, "", keystore.ErrFeedLost
	}
	return changes, next, nil
}
