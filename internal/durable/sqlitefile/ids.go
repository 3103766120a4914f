package sqlitefile

import (
	"context"
	"errors"
	"iter"
	"math"
)

// linearSteps is how many ids after damage are tried one by one. A page has about as many rows.
const linearSteps = 64

// endOfIDs is larger than all ids.
const endOfIDs = math.MaxInt64 / 4

// IDs yields the ids of the readable rows of a table in ascending order. If it meets damage, it calls damaged and
// continues with the next readable row that it finds; it can miss rows between two damaged places. If another error
// occurs, or ctx ends, it yields the error last.
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
			if from = c.nextReadableID(query+" LIMIT 1", from); from == endOfIDs {
				return
			}
		}
	}
}

// nextReadableID searches for the smallest id from which rows can be read again, in growing steps and then by
// bisection. It returns endOfIDs if it finds none.
func (c *Conn) nextReadableID(query string, damaged int64) int64 {
	reads := func(id int64) bool { return !IsDamage(c.Run(query, id)) }
	unreadable, readable := damaged, damaged+1
	for step := int64(1); !reads(readable); readable += step {
		if unreadable = readable; readable >= endOfIDs {
			return endOfIDs
		}
		if readable-damaged >= linearSteps {
			step *= 2
		}
	}
	for readable-unreadable > 1 {
		if middle := unreadable + (readable-unreadable)/2; reads(middle) {
			readable = middle
		} else {
			unreadable = middle
		}
	}
	return readable
}
