package cache

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Item is one write of SetMany.
type Item struct {
	Key     string
	Value   []byte
	Class   classify.Class
	TTL     time.Duration // 0 is the longest that the class allows
	Context map[string]string

	MediaType string // what the value is, kept inside the package; at most 255 bytes, may be empty
}

// Result is one read of GetMany: an entry, or the error that Get would have given for its key.
type Result struct {
	Entry
	Err error
}

// SetMany stores the items in one pipeline. An item that cannot be sealed fails the batch before anything is
// written, and the error says its position; after an error of the store some may have been written.
func (c *Cache) SetMany(ctx context.Context, items []Item) error {
	b := getBuffer()
	defer b.put()
	writes := make([]kv.Write, len(items))
	ends := make([]int, len(items))
	for i := range items {
		ttl, err := c.ttl(items[i].Class, items[i].TTL)
		if err == nil {
			err = c.seal(b, &items[i])
		}
		if err != nil {
			return fmt.Errorf("cache: item %d: %w", i, err)
		}
		writes[i] = kv.Write{Key: c.prefix + items[i].Key, TTL: ttl}
		ends[i] = len(b.bytes)
	}
	start := 0
	for i, end := range ends { // only now does the buffer no longer move
		writes[i].Value, start = b.bytes[start:end:end], end
	}
	_, err := c.store.Write(ctx, writes)
	return err
}

// GetMany returns one result for each key, in the order of keys, from one pipeline. Its own error is the store's.
func (c *Cache) GetMany(ctx context.Context, keys []string, options ...ReadOption) ([]Result, error) {
	if err := c.checkKeys(keys); err != nil {
		return nil, err
	}
	packages, err := kv.GetMany(ctx, c.store, c.stored(keys))
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(keys))
	for i, pkg := range packages {
		if pkg == nil {
			results[i].Err = ErrNotFound
			continue
		}
		results[i].Entry, results[i].Err = c.openStored(ctx, keys[i], pkg, options)
	}
	return results, nil
}

// DeleteMany removes the entries under the keys in one pipeline and returns how many there were.
func (c *Cache) DeleteMany(ctx context.Context, keys []string) (int, error) {
	if err := c.checkKeys(keys); err != nil {
		return 0, err
	}
	existed, err := kv.DeleteMany(ctx, c.store, c.stored(keys))
	return kv.CountTrue(existed), err
}

// Found is one read of Packages.
type Found struct {
	Entry
	Package []byte
	Err     error
}

// Packages gives one Found for each key, in the order of keys, from one call of the store. A package of more
// than limit bytes is not read:
// neither it nor an error is there. Its own error is the store's.
func (c *Cache) Packages(ctx context.Context, keys []string, limit int) ([]Found, error) {
	if err := c.checkKeys(keys); err != nil {
		return nil, err
	}
	packages, err := c.store.Read(ctx, c.stored(keys), limit)
	if err != nil {
		return nil, err
	}
	found := make([]Found, len(keys))
	for i := range found {
		f := &found[i]
		switch f.Package = packages[i].Value; {
		case f.Package != nil:
			if f.Entry, f.Err = c.inspect(f.Package); f.Err == nil {
				f.Err = c.checkOutlived(ctx, keys[i], f.Package)
			}
		case packages[i].Size == 0:
			f.Err = ErrNotFound
		}
	}
	return found, nil
}

// PutMany stores what Seal made in one call to the store, in order, and gives the error of each.
func (c *Cache) PutMany(ctx context.Context, sealed []Sealed) []error {
	writes := make([]kv.Write, len(sealed))
	for i := range sealed {
		writes[i] = kv.Write{Key: c.prefix + sealed[i].key, Value: sealed[i].pkg, TTL: sealed[i].TTL}
	}
	_, err := c.store.Write(ctx, writes)
	return kv.ErrorsOf(err, len(sealed))
}

// RemoveMany deletes the entries under the keys in one call to the store, in order, and gives the error of
// each: ErrNotFound where there was none.
func (c *Cache) RemoveMany(ctx context.Context, keys []string) []error {
	if err := c.checkKeys(keys); err != nil {
		return kv.ErrorsOf(err, len(keys))
	}
	existed, err := kv.DeleteMany(ctx, c.store, c.stored(keys))
	errs := slices.Clone(kv.ErrorsOf(err, len(keys)))
	for i := range errs {
		if errs[i] == nil && !existed[i] {
			errs[i] = ErrNotFound
		}
	}
	return errs
}

// stored gives the keys as the store has them.
func (c *Cache) stored(keys []string) []string {
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = c.prefix + key
	}
	return out
}

func (c *Cache) checkKeys(keys []string) error {
	for i, key := range keys {
		if err := c.checkKey(key); err != nil {
			return fmt.Errorf("cache: key %d: %w", i, err)
		}
	}
	return nil
}
