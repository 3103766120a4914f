package sqlitekeys

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/keystore"
)

const (
	// feedLength is how many changes the feed keeps at least. A reader that fell behind by more rereads everything.
	feedLength = 100_000
	// feedPage is how many changes are read, and trimmed, at once.
	feedPage = 1000
)

// Changes implements keystore.Store. A position is the place of the last entry that was read and its random id. A feed
// that was trimmed beyond it, or that another history of the file replaced, does not contain that entry.
func (s *Store) Changes(ctx context.Context, since keystore.Position) ([]keystore.Change, keystore.Position, error) {
	var place int64
	query := "SELECT place, id, kind, name FROM feed WHERE place >= ? ORDER BY place LIMIT ?"
	if since == "" {
		query = "SELECT place, id, kind, name FROM feed WHERE place >= ? ORDER BY place DESC LIMIT min(?, 1)"
	} else if _, err := fmt.Sscan(string(since), &place); err != nil {
		return nil, "", keystore.ErrFeedLost
	}
	var changes []keystore.Change
	var first, last keystore.Position
	err := s.transact(ctx, read, s.path, func(c *conn) error {
		return c.query(func(row *sqlite3.Stmt) {
			last = keystore.Position(fmt.Sprintf("%d %d", row.ColumnInt64(0), row.ColumnInt64(1)))
			if first == "" {
				first = last
				return
			}
			changes = append(changes, keystore.Change{Kind: keystore.Kind(row.ColumnText(2)), Name: string(row.ColumnRawBlob(3))})
		}, query, place, int64(feedPage+1))
	})
	switch {
	case err != nil:
		return nil, "", err
	case since == "" && last == "":
		return nil, "", s.failed(s.path, errors.New("the feed is empty"))
	case since != "" && first != since:
		return nil, "", keystore.ErrFeedLost
	}
	return changes, last, nil
}
