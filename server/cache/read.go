package cache

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Entry is a value with the metadata in its package.
type Entry struct {
	Value       []byte
	Class       classify.Class
	Context     map[string]string // nil if it is empty
	KeyID       format.KeyID      // of the key that encrypted it
	EncryptedAt time.Time         // with a resolution of 1 ms
	Type        format.ValueType
	MediaType   string // empty if the value is of another type, or was not opened
	Size        int    // of the value in bytes; if it was not opened, plus the size of the details in the package
	Tag         string // identifies this write of the entry; see TagOf
}

// ReadOption is an option of a call that opens values.
type ReadOption = seal.ReadOption

// MinClass makes a read return classify.ErrTooLow for a value whose class is lower than class.
func MinClass(class classify.Class) ReadOption { return seal.MinClass(class) }

// GetDecrypted returns the value under key. It returns ErrNotFound, and the errors of seal.Sealer.OpenStored and of the
// store.
func (c *Cache) GetDecrypted(ctx context.Context, key string, options ...ReadOption) ([]byte, error) {
	o, err := c.open(ctx, key, options)
	return o.Value, err
}

// Get returns the value under key with its metadata, all of it authentic. It returns the errors of GetDecrypted.
func (c *Cache) Get(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	return c.open(ctx, key, options)
}

// Inspect returns the entry under key without its value. Nothing in it is authenticated: the entry is opened only if it
// seems to have expired, before it is deleted. It returns the errors of Get.
func (c *Cache) Inspect(ctx context.Context, key string) (Entry, error) {
	_, entry, err := c.Package(ctx, key)
	return entry, err
}

// Package returns the package under key, and the entry that Inspect returns. Nothing in them is authenticated.
func (c *Cache) Package(ctx context.Context, key string) ([]byte, Entry, error) {
	stored, err := c.load(ctx, key)
	if err != nil {
		return nil, Entry{}, err
	}
	entry, err := c.inspect(stored)
	if err == nil {
		err = c.checkExpired(ctx, key, stored)
	}
	if err != nil {
		return nil, Entry{}, err
	}
	return stored, entry, nil
}

// inspect returns the entry of a stored value without opening it.
func (c *Cache) inspect(stored []byte) (Entry, error) {
	pkg, err := c.unmark(stored)
	if err != nil {
		return Entry{}, err
	}
	h, err := seal.ParseStored(pkg, format.UseCache)
	if err != nil {
		return Entry{}, err
	}
	return entryOf(&seal.Opened{Header: h}, pkg), nil
}

// TTL returns the remaining time to live of the entry under key, and 0 if it has no limit. It returns ErrNotFound.
func (c *Cache) TTL(ctx context.Context, key string) (time.Duration, error) {
	if err := c.checkKey(key); err != nil {
		return 0, err
	}
	left, ok, err := c.store.TTL(ctx, c.prefix+key)
	if err == nil && !ok {
		err = ErrNotFound
	}
	return left, err
}

// List returns a page of about limit keys that begin with prefix, and the cursor of the next page, which is empty after
// the last one. The first cursor is empty. See kv.Store.Scan.
func (c *Cache) List(ctx context.Context, prefix, cursor string, limit int) (keys []string, next string, err error) {
	keys, next, err = c.store.Scan(ctx, c.prefix+prefix, cursor, limit)
	for i := range keys {
		keys[i] = strings.TrimPrefix(keys[i], c.prefix)
	}
	return keys, next, err
}

// load returns the stored value under key, or ErrNotFound.
func (c *Cache) load(ctx context.Context, key string) ([]byte, error) {
	if err := c.checkKey(key); err != nil {
		return nil, err
	}
	pkg, ok, err := kv.Get(ctx, c.store, c.prefix+key)
	if err == nil && !ok {
		err = ErrNotFound
	}
	return pkg, storedTypeError(err)
}

// storedTypeError returns envelope.ErrAuthentication for kv.ErrWrongType, and otherwise err.
func storedTypeError(err error) error {
	if errors.Is(err, kv.ErrWrongType) {
		return seal.StoredError(err)
	}
	return err
}

func (c *Cache) open(ctx context.Context, key string, options []ReadOption) (Entry, error) {
	pkg, err := c.load(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	return c.openStored(ctx, key, pkg, options)
}

// openStored opens the stored value under a key. If it has expired, openStored deletes it and returns ErrNotFound.
func (c *Cache) openStored(ctx context.Context, key string, stored []byte, options []ReadOption) (Entry, error) {
	entry, err := c.Open(ctx, nil, key, stored, options...)
	if err == nil {
		err = c.deleteExpired(ctx, key, stored, &entry)
	}
	if err != nil {
		return Entry{}, err
	}
	return entry, nil
}

// Open opens the package that Package returned for key. The value is in the capacity of dst if that suffices; dst must
// not overlap the package. It returns the errors of Get, except ErrNotFound and those of the store.
func (c *Cache) Open(ctx context.Context, dst []byte, key string, pkg []byte, options ...ReadOption) (Entry, error) {
	pkg, err := c.unmark(pkg)
	if err != nil {
		return Entry{}, err
	}
	var o seal.Opened
	if policy := seal.NewOpenPolicy(format.UseCache, options...); c.plain {
		o, err = openPlain(pkg, policy)
	} else {
		o, err = c.sealer.OpenStored(ctx, dst[:0], pkg, c.place(key), policy)
	}
	if err != nil {
		return Entry{}, err
	}
	return entryOf(&o, pkg), nil
}

func entryOf(o *seal.Opened, pkg []byte) Entry {
	return Entry{
		Value: o.Value, Class: classify.Class(o.Header.Class), Context: o.Context().Map(), KeyID: o.Header.KeyID,
		EncryptedAt: time.UnixMilli(o.Header.EncryptedAt), Type: o.Header.Type,
		MediaType: o.Details.MediaType, Tag: TagOf(pkg), Size: sizeOf(o, pkg),
	}
}

func sizeOf(o *seal.Opened, pkg []byte) int {
	if o.Value != nil {
		return len(o.Value)
	}
	return max(0, len(pkg)-o.Header.Size()-format.NonceSize-format.TagSize)
}
