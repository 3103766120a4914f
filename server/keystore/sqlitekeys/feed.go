package sqlitekeys

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
)

const (
	// feedLength is how many changes the feed keeps at least. A reader that is further behind rereads every document.
	feedLength = 100_000
	// feedPage is how many changes one call of Changes returns at most, and how often the feed is trimmed.
	feedPage = 1000
	// placeLimit is above every place that announce assigns. After the greatest integer, SQLite itself would assign
	// random places.
	placeLimit = 1 << 62

	firstEntries = "SELECT place, id, kind, name FROM feed WHERE place >= ? ORDER BY place LIMIT ?"
	lastEntry    = "SELECT place, id FROM feed ORDER BY place DESC LIMIT 1"
	lastPlace    = "SELECT max(place) FROM feed"
	feedExtent   = "SELECT min(place), max(place), count(*) FROM feed"
)

// announce adds an entry to the feed, at the place after the last one. If the last place is invalid, announce starts
// a new feed: no reader's position is in it, so all readers reread everything.
func announce(c *sqlitefile.Conn, kind keystore.Kind, name string) error {
	last, err := c.Int(lastPlace)
	if err == nil && (last < 0 || last >= placeLimit) {
		last, err = 0, c.Run("DELETE FROM feed")
	}
	place := last + 1
	if err == nil {
		err = c.Run("INSERT INTO feed (place, kind, name) VALUES (?, ?, ?)", place, string(kind), []byte(name))
	}
	if err == nil && place%feedPage == 0 {
		err = c.Run("DELETE FROM feed WHERE place <= ?", place-feedLength)
	}
	return err
}

// checkFeed returns an error of damage if the places of the feed are not consecutive, or are outside the range that
// announce assigns.
func checkFeed(c *sqlitefile.Conn) error {
	for row, err := range c.Rows(feedExtent) {
		if err != nil {
			return err
		}
		first, last, entries := row.ColumnInt64(0), row.ColumnInt64(1), row.ColumnInt64(2)
		if first < 1 || last >= placeLimit || last-first != entries-1 {
			return fmt.Errorf("%w: the positions of the change feed are not consecutive", sqlite3.CORRUPT)
		}
	}
	return nil
}

// Changes implements keystore.Store. A position is the place and the random id of the last entry that was read. The
// entry is missing if the feed was trimmed beyond it, or if another state of the file replaced it. If places are not
// consecutive, entries are missing or were not written by announce: the feed is then lost as well.
func (s *Store) Changes(ctx context.Context, since keystore.Position) (changes []keystore.Change, next keystore.Position, err error) {
	var place, last int64
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
			place := row.ColumnInt64(0)
			at := keystore.Position(fmt.Sprintf("%d %d", place, row.ColumnInt64(1)))
			if since != "" && next == "" && at != since {
				return nil
			}
			if next != "" && place-last != 1 {
				changes, next = nil, ""
				return nil
			}
			if next != "" {
				changes = append(changes, keystore.Change{Kind: keystore.Kind(row.ColumnText(2)), Name: string(row.ColumnRawBlob(3))})
			}
			next, last = at, place
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
