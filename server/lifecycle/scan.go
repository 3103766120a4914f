package lifecycle

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/format"
)

// atOnce is how many entries are looked at at the same time, and are in memory then.
const atOnce = 4

// scan goes through the tenant's cache, and counts the entries that say they are under the key, and all.
// Whether what they say is authentic is not asked: a forged entry keeps a key rather than losing one.
func (k *Keys) scan(ctx context.Context, r *Retirement) (under int, err error) {
	t, err := k.Rotator.Ring.Tenant(ctx, r.Key.Tenant)
	if err != nil {
		return 0, err
	}
	entries := cache.New(k.Cache, seal.NewSealer(t), k.Rotator.Cache...)
	done := func(int) {}
	if k.Progress != nil {
		total, err := k.Rotator.Entries(ctx, r.Key.Tenant)
		if err != nil {
			return 0, err
		}
		done = func(n int) { k.Progress(min(n, total), total) }
	}
	for cursor := ""; ; {
		keys, next, err := entries.List(ctx, "", cursor, 0)
		if cursor != "" && errors.Is(err, kv.ErrCursor) { // another server has them in another order
			under, r.Entries, cursor = 0, 0, ""
			continue
		}
		if err != nil {
			return 0, err
		}
		n, err := count(ctx, entries, keys, r.Key.ID)
		if err != nil {
			return 0, err
		}
		under, r.Entries = under+n, r.Entries+len(keys)
		done(r.Entries)
		if cursor = next; cursor == "" {
			return under, nil
		}
	}
}

// count gives how many of the entries are under a key. What is gone meanwhile is none, and neither is what is
// no package.
func count(ctx context.Context, entries *cache.Cache, keys []string, id format.KeyID) (int, error) {
	var under atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, key := range keys {
		group.Go(func() error {
			entry, err := entries.Inspect(ctx, key)
			var foreign *format.Error
			switch {
			case err == nil && entry.KeyID == id:
				under.Add(1)
			case errors.As(err, &foreign), errors.Is(err, cache.ErrNotFound), errors.Is(err, cache.ErrEncryption):
				return nil
			}
			return err
		})
	}
	err := group.Wait()
	return int(under.Load()), err
}
