package cache

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Item is a value to write.
type Item struct {
	Key     string
	Value   []byte
	Class   classify.Class
	TTL     time.Duration // 0 means as long as the class allows
	Context map[string]string

	MediaType string // at most 255 bytes; kept inside the package; may be empty
}

// Result is the result of Get for one key of GetMany.
type Result struct {
	Entry
	Err error
}

// SetMany stores the items in one call of the store. If an item cannot be sealed, SetMany writes nothing and returns an
// error with the index of the item. If the store returns an error, some of the items may have been written.
func (c *Cache) SetMany(ctx context.Context, items []Item) error {
	b := getBuffer()
	defer b.put()
	writes := make([]kv.Write, len(items))
	ends := make([]int, len(items))
	for i := range items {
		ttl, err := c.ttl(items[i].Class, items[i].TTL)
		if err == nil {
			_, err = c.seal(ctx, b, &items[i])
		}
		if err != nil {
			return fmt.Errorf("cache: item %d: %w", i, err)
		}
		writes[i] = kv.Write{Key: c.prefix + items[i].Key, TTL: ttl}
		ends[i] = len(b.bytes)
	}
	start := 0
	for i, end := range ends { // the buffer grew until now, and packages moved
		writes[i].Value, start = b.bytes[start:end:end], end
	}
	_, err := c.store.Write(ctx, writes)
	return err
}

// GetMany returns one result for each key, in the order of keys, with one call of the store. It returns an error only
// if a key is invalid or the store fails.
func (c *Cache) GetMany(ctx context.Context, keys []string, options ...ReadOption) ([]Result, error) {
	if err := c.checkKeys(keys); err != nil {
		return nil, err
	}
	packages, err := kv.GetMany(ctx, c.store, c.storeKeys(keys))
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

// DeleteMany deletes the entries under the keys with one call of the store, and returns the number of entries that
// existed.
func (c *Cache) DeleteMany(ctx context.Context, keys []string) (int, error) {
	if err := c.checkKeys(keys); err != nil {
		return 0, err
	}
	existed, err := kv.DeleteMany(ctx, c.store, c.storeKeys(keys))
	return kv.CountTrue(existed), err
}

// StoredPackage is the result of Packages for one key.
type StoredPackage struct {
	Entry          // as Inspect returns it
	Package []byte // nil if it is longer than the limit, or Err is not nil
	Err     error
}

// Packages returns the package under each key, in the order of keys, with one call of the store. Nothing in them is
// authenticated. For a package longer than limit bytes, which is not read, Package and Err are nil. Packages returns an
// error only if a key is invalid or the store fails.
func (c *Cache) Packages(ctx context.Context, keys []string, limit int) ([]StoredPackage, error) {
	if err := c.checkKeys(keys); err != nil {
		return nil, err
	}
	packages, err := c.store.Read(ctx, c.storeKeys(keys), limit)
	if err != nil {
		return nil, err
	}
	found := make([]StoredPackage, len(keys))
	for i := range found {
		f := &found[i]
		switch f.Package = packages[i].Value; {
		case f.Package != nil:
			if f.Entry, f.Err = c.inspect(f.Package); f.Err == nil {
				f.Err = c.checkExpired(ctx, keys[i], f.Package)
			}
		case packages[i].Size == 0:
			f.Err = ErrNotFound
		}
	}
	return found, nil
}

// PutMany stores sealed items with one call of the store, and returns the error of each item.
func (c *Cache) PutMany(ctx context.Context, sealed []Sealed) []error {
	writes := make([]kv.Write, len(sealed))
	for i := range sealed {
		writes[i] = kv.Write{Key: c.prefix + sealed[i].key, Value: sealed[i].stored, TTL: sealed[i].TTL}
	}
	_, err := c.store.Write(ctx, writes)
	return kv.ErrorsOf(err, len(sealed))
}

// RemoveMany deletes the entries under the keys with one call of the store, and returns the error for each key. It is
// ErrNotFound for a missing entry.
func (c *Cache) RemoveMany(ctx context.Context, keys []string) []error {
	if err := c.checkKeys(keys); err != nil {
		return kv.ErrorsOf(err, len(keys))
	}
	existed, err := kv.DeleteMany(ctx, c.store, c.storeKeys(keys))
	errs := slices.Clone(kv.ErrorsOf(err, len(keys)))
	for i := range errs {
		if errs[i] == nil && !existed[i] {
			errs[i] = ErrNotFound
		}
	}
	return errs
}

// storeKeys returns the keys of the entries in the store.
func (c *Cache) storeKeys(keys []string) []string {
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = c.prefix + key
	}
	return out
}

// checkKeys is checkKey for several keys.
func (c *Cache) checkKeys(keys []string) error {
	for i, key := range keys {
		if err := c.checkKey(key); err != nil {
			return fmt.Errorf("cache: key %d: %w", i, err)
		}
	}
	return nil
}
