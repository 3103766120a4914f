package rotation

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/codes"
)

// page brings the entries under some keys under their classes' primaries.
func (p *pass) page(ctx context.Context, keys []string) error {
	slices.Sort(keys)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for batch := range slices.Chunk(slices.Compact(keys), p.batch) {
		g.Go(func() error {
			if err := p.limit.WaitN(ctx, len(batch)); err != nil {
				return err
			}
			return p.entries(ctx, batch, batchLimit)
		})
	}
	return g.Wait()
}

// large is an entry that is longer than what a batch takes.
type large struct {
	key   string
	bytes int
}

// entries tries until the store and the keys answer. Packages longer than limit come one by one, as soon as
// there is room for them.
func (p *pass) entries(ctx context.Context, keys []string, limit int) error {
	for wait := firstWait; ; wait = min(2*wait, longest) {
		left, larger, err := p.try(ctx, keys, limit)
		for _, one := range larger {
			if err := p.entries(ctx, []string{one.key}, one.bytes); err != nil {
				return err
			}
		}
		switch {
		case len(left) == 0:
			return nil
		case err != nil && !again(err): // one of them spoils the answer of all
			for _, key := range left {
				if err := p.entries(ctx, []string{key}, limit); err != nil {
					return err
				}
			}
			return nil
		case sleep(ctx, wait) != nil:
			return ctx.Err()
		}
		keys = left
	}
}

// try goes over some entries once and notes what became of them. It gives those that are left, with the error
// that did it, and those that are longer than limit. An error of an entry itself is counted.
func (p *pass) try(ctx context.Context, keys []string, limit int) (left []string, larger []large, err error) {
	giveBack, err := p.r.Memory.Await(ctx, int64(len(keys))*int64(limit)*copies)
	if err != nil {
		return keys, nil, err
	}
	defer giveBack()
	results, err := p.cache.Reseal(ctx, keys, limit, p.due)
	for i := range results {
		one := &results[i]
		if err != nil && len(keys) == 1 && !again(err) {
			one.Err = err
		}
		switch {
		case one.Did == cache.Large:
			larger = append(larger, large{keys[i], one.Bytes})
		case one.Err != nil && again(one.Err), err != nil && one.Err == nil && one.Did != cache.Anew:
			left = append(left, keys[i])
		default:
			p.note(&one.Entry, one.Did, one.Err)
		}
	}
	return left, larger, err
}

func (p *pass) note(entry *cache.Entry, did cache.Resealed, err error) {
	p.r.count(did, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	c, key := &p.record.Counts, Key{entry.Class, ID(entry.KeyID)}
	c.add(did, err)
	if did != cache.Foreign && p.record.Retires(key) {
		if c.Former++; !slices.Contains(p.record.Found, key) {
			p.record.Found = append(p.record.Found, key)
		}
	}
	if err != nil {
		p.record.note(key, codes.Of(err).Code)
	}
}

// errCursor says that the entries have to be gone through from the beginning.
var errCursor = errors.New("rotation: the cursor is lost")

// list gives a page of keys, and tries until the store answers.
func (p *pass) list(ctx context.Context, cursor string, limit int) (keys []string, next string, err error) {
	wait := firstWait
	for try := 1; ; try++ {
		keys, next, err = p.cache.List(ctx, "", cursor, limit)
		switch {
		case err == nil:
			return keys, next, nil
		case cursor != "" && (errors.Is(err, kv.ErrCursor) || try == tries): // such as that of a server that has left the cluster
			return nil, "", errCursor
		case !again(err):
			return nil, "", err
		case sleep(ctx, wait) != nil:
			return nil, "", ctx.Err()
		}
		wait = min(2*wait, longest)
	}
}

// again reports whether an error is of the moment, and not of what is there.
func again(err error) bool {
	return codes.Of(err).Retry || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
