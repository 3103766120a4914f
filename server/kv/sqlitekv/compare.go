package sqlitekv

import (
	"bytes"
	"context"
	"errors"

	"github.com/coffer-storage/coffer/server/kv"
)

// comparison records whether the value with a given blob equals the old value of a write. It is made before the
// transaction, so that other writers do not wait while all parts are read. It stays valid, because a part never changes
// and no other value gets the same blob number. The zero comparison has no result.
type comparison struct {
	blob  int64
	equal bool
}

// compareLargeValues compares the large old values of writes with the entries.
func (s *Store) compareLargeValues(ctx context.Context, writes []kv.Write) ([]comparison, error) {
	all := make([]comparison, len(writes))
	for i := range writes {
		if w := &writes[i]; w.If == kv.Equals && len(w.Old) > chunkSize {
			err := s.compareLarge(ctx, w.Key, w.Old, &all[i])
			if isDamage(err) { // or the value was replaced concurrently: the transaction compares again
				all[i] = comparison{}
			} else if err != nil {
				return nil, s.mapError("write", err)
			}
		}
	}
	return all, nil
}

// compareLarge compares a value with an entry, a few parts at a time, so that other readers get their turn.
func (s *Store) compareLarge(ctx context.Context, key string, old []byte, known *comparison) error {
	var r row
	var failed error
	inTurn := func(do func(c *conn) error) error {
		err := s.withReaderInCall(ctx, "compare", func(c *conn) error { failed = do(c); return ctx.Err() })
		return errors.Join(err, failed)
	}
	err := inTurn(func(c *conn) (err error) {
		var first []byte
		first, r, err = c.readFirstChunk(key, chunkSize)
		*known = comparison{r.blob, r.size == int64(len(old)) && bytes.Equal(first, old[:chunkSize])}
		return err
	})
	var part []byte
	for n := 1; err == nil && known.equal && n*chunkSize < len(old); {
		err = inTurn(func(c *conn) (err error) {
			for range partsPerTurn {
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
