package rotation

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// entry is an entry of the cache.
type entry struct {
	key, owner, name string
	stored           kv.ReadResult
	tenant           *tenant // the owner; set by loadTenants
}

// page contains entries whose headers were read.
type page struct {
	entries []entry
	next    string // cursor of the next page; empty after the last page
	err     error
}

// listPages sends the remaining pages of the part, with the headers of their entries, until ctx ends. It closes pages.
func (v *partVisit) listPages(ctx context.Context, sweeper kv.Sweeper, pages chan<- page) {
	defer close(pages)
	size := fullRatePage
	if v.limiter != nil {
		size = limitedPage
	}
	for cursor := string(v.part.Cursor); ; {
		var keys []string
		var p page
		p.err = v.retry(ctx, maxTries, recovered(func() (err error) {
			keys, p.next, err = sweeper.SweepPage(ctx, v.part.Name, kv.TenantPrefix, cursor, size)
			return err
		}))
		if p.err == nil {
			p.err = recovered(func() (err error) { p.entries, err = v.readHeaders(ctx, keys); return err })()
		}
		select {
		case pages <- p:
		case <-ctx.Done():
			return
		}
		if cursor = p.next; cursor == "" || p.err != nil {
			return
		}
	}
}

// readHeaders reads the headers of those keys that are entries of the cache.
func (v *partVisit) readHeaders(ctx context.Context, keys []string) ([]entry, error) {
	if err := v.waitForRate(ctx, len(keys)); err != nil {
		return nil, err
	}
	all := make([]entry, 0, len(keys))
	for _, key := range keys {
		if owner, collection, name, ok := kv.SplitKey(key); ok && collection == cache.Collection {
			all = append(all, entry{key: key, owner: owner, name: name})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentReads)
	for batch := range slices.Chunk(all, headersPerRead) {
		g.Go(recovered(func() error { return v.readBatch(ctx, batch, headerPrefix) }))
	}
	return all, g.Wait()
}

// readBatch reads the first bytes of packages. If an entry makes the whole read fail, it is counted as unreadable.
func (v *partVisit) readBatch(ctx context.Context, all []entry, limit int) error {
	keys := make([]string, len(all))
	for i := range all {
		keys[i] = all[i].key
	}
	var headers []kv.ReadResult
	err := v.retry(ctx, maxTries, func() (err error) {
		headers, err = v.r.Store.Read(ctx, keys, limit)
		return err
	})
	if err != nil && (transient(err) || len(all) == 0) {
		return err
	}
	if err != nil && len(all) == 1 {
		v.countEntry(all[0].owner, Key{}, cache.Unchanged, seal.StoredError(err))
		return nil
	}
	for i := range all {
		if err == nil {
			all[i].stored = headers[i]
			if headers[i].Prefix == nil || limit == maxHeader {
				continue
			}
			if _, _, e := format.ParseHeader(headers[i].Prefix); e == nil {
				continue
			}
		}
		prefix := limit
		if err == nil {
			prefix = maxHeader // the header may be longer than headerPrefix
		}
		if err := v.readBatch(ctx, all[i:i+1], prefix); err != nil {
			return err
		}
	}
	return nil
}

// storedBytes returns the bytes of a value that were read.
func storedBytes(one *kv.ReadResult) []byte {
	if one.Value != nil {
		return one.Value
	}
	return one.Prefix
}

// claimedKey returns the key that a package names, and whether the value is a package of the cache. It verifies
// nothing.
func claimedKey(one *kv.ReadResult) (Key, bool) {
	h, n, err := format.ParseHeader(storedBytes(one))
	if err == nil {
		err = format.CheckBody(&h, one.Size-n)
	}
	ok := err == nil && h.Source == format.FromKeyset && h.Algorithm != format.Chunked && h.Use == format.UseCache
	return Key{classify.Class(h.Class), ID(h.KeyID)}, ok
}
