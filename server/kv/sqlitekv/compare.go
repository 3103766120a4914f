package sqlitekv

import (
	"bytes"
	"context"
	"errors"

	"github.com/coffer-storage/coffer/server/kv"
)

// comparison is whether an entry that has this blob equals the old value of a write. No part of a blob ever changes, and no other value
// gets its number, so that the transaction does not read the parts again while others wait for their turn to write. The zero
// comparison knows nothing.
type comparison struct {
	blob  int64
	equal bool
}

// compareAll compares the old values of writes that are large with their entries.
func (s *Store) compareAll(ctx context.Context, writes []kv.Write) ([]comparison, error) {
	all := make([]comparison, len(writes))
	for i := range writes {
		if w := &writes[i]; w.If == kv.Equals && len(w.Old) > chunkSize {
			err := s.compare(ctx, w.Key, w.Old, &all[i])
			if isDamage(err) { // or replaced in the meantime: the transaction decides
				all[i] = comparison{}
			} else if err != nil {
				return nil, s.failure("write", err)
			}
		}
	}
	return all, nil
}

// compare compares a value with an entry in turns, by connections that read.
func (s *Store) compare(ctx context.Context, key string, old []byte, known *comparison) error {
	var r row
	var failed error
	turn := func(do func(c *conn) error) error {
		err := s.readTurn(ctx, "compare", func(c *conn) error { failed = do(c); return ctx.Err() })
		return errors.Join(err, failed)
	}
	err := turn(func(c *conn) (err error) {
		var first []byte
		first, r, err = c.first(key, chunkSize)
		*known = comparison{r.blob, r.size == int64(len(old)) && bytes.Equal(first, old[:chunkSize])}
		return err
	})
	var part []byte
	for n := 1; err == nil && known.equal && n*chunkSize < len(old); {
		err = turn(func(c *conn) (err error) {
			for range turnParts {
				if !known.equal || n*chunkSize >= len(old) {
					break
				}
				if part, err = c.readPart(part[:0], &r, int64(n), r.size); err != nil {
					return err
				}
				known.equal = bytes.Equal(part, old[n*chunkSize:min((n+1)*chunkSize, len(old))])
				n++
			}
			return nil
		})
	}
	return err
}
