package sqlitefile

import (
	"context"
	"errors"
	"iter"
	"math"
)

// linearSteps is how many ids behind damage are tried one by one: about as many as a page can hold.
const linearSteps = 64

// endOfIDs is beyond all ids.
const endOfIDs = math.MaxInt64 / 4

// IDs returns the ids of a table's readable rows in ascending order. It continues behind damage, of which it calls damaged. It can
// miss readable rows between two damaged places. Any other error is the last, ctx's too.
func (c *Conn) IDs(ctx context.Context, table string, damaged func(error)) iter.Seq2[int64, error] {
	query := "SELECT id FROM " + table + " WHERE id >= ? ORDER BY id"
	return func(yield func(int64, error) bool) {
		for from := int64(0); ; {
			failed := error(nil)
			for row, err := range c.Rows(query, from) {
				if failed = errors.Join(err, ctx.Err()); failed != nil {
					break
				}
				from = row.ColumnInt64(0) + 1
				if !yield(from-1, nil) {
					return
				}
			}
			switch {
			case failed == nil:
				return
			case !IsDamage(failed):
				yield(0, failed)
				return
			}
			damaged(failed)
			if from = c.behind(query+" LIMIT 1", from); from == endOfIDs {
				return
			}
		}
	}
}

// behind returns the least id that it finds from which on a row can be read, or endOfIDs.
func (c *Conn) behind(query string, damaged int64) int64 {
	reads := func(id int64) bool { return !IsDamage(c.Run(query, id)) }
	least, most := damaged, damaged+1
	for step := int64(1); !reads(most); most += step {
		if least = most; most >= endOfIDs {
			return endOfIDs
		}
		if most-damaged >= linearSteps {
			step *= 2
		}
	}
	for most-least > 1 {
		if middle := least + (most-least)/2; reads(middle) {
			most = middle
		} else {
			least = middle
		}
	}
	return most
}
