package cache

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Entry is a value with what its package says of it.
type Entry struct {
	Value       []byte
	Class       classify.Class
	Context     map[string]string // nil where there is none
	KeyID       format.KeyID      // of the key that sealed it
	EncryptedAt time.Time         // to the millisecond
	Type        format.ValueType
}

// ReadOption adds a demand to a call that reads.
type ReadOption = seal.ReadOption

// AtLeast refuses values of a class lower than class, with classify.ErrTooLow.
func AtLeast(class classify.Class) ReadOption { return seal.AtLeast(class) }

// GetDecrypted gives the value under key. It returns ErrNotFound where there is none, and the errors of seal.Sealer.Open and of the
// store.
func (c *Cache) GetDecrypted(ctx context.Context, key string, options ...ReadOption) ([]byte, error) {
	o, err := c.open(ctx, key, options)
	return o.Value, err
}

// Get is GetDecrypted with what the package says of the value, all of it authentic.
func (c *Cache) Get(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	o, err := c.open(ctx, key, options)
	if err != nil {
		return Entry{}, err
	}
	return entryOf(&o), nil
}

// Inspect gives the entry under key without its value and without opening it: what it says is not authenticated. Errors are
// Get's, but for those of keys.
func (c *Cache) Inspect(ctx context.Context, key string) (Entry, error) {
	if err := c.checkKey(key); err != nil {
		return Entry{}, err
	}
	pkg, ok, err := c.store.Get(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	if !ok {
		return Entry{}, ErrNotFound
	}
	p, err := format.Parse(pkg)
	if err != nil {
		return Entry{}, err
	}
	return entryOf(&seal.Opened{Header: p.Header}), nil
}

func (c *Cache) open(ctx context.Context, key string, options []ReadOption) (seal.Opened, error) {
	if err := c.checkKey(key); err != nil {
		return seal.Opened{}, err
	}
	pkg, ok, err := c.store.Get(ctx, key)
	if err != nil {
		return seal.Opened{}, err
	}
	if !ok {
		return seal.Opened{}, ErrNotFound
	}
	return c.sealer.Open(nil, pkg, c.want(key, options))
}

func (c *Cache) want(key string, options []ReadOption) seal.Want {
	return seal.Apply(seal.Want{Use: format.UseCache, Place: c.place(key)}, options)
}

func entryOf(o *seal.Opened) Entry {
	return Entry{
		Value: o.Value, Class: classify.Class(o.Header.Class), Context: o.Context().Map(), KeyID: o.Header.KeyID,
		EncryptedAt: time.UnixMilli(o.Header.EncryptedAt), Type: o.Header.Type,
	}
}
