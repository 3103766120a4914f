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

// Entry is a value with what its package says of it.
type Entry struct {
	Value       []byte
	Class       classify.Class
	Context     map[string]string // nil where there is none
	KeyID       format.KeyID      // of the key that sealed it
	EncryptedAt time.Time         // to the millisecond
	Type        format.ValueType
	MediaType   string // empty where there is none, and where nothing was opened
	Size        int    // of the value in bytes; where it was not opened, with what the package says of it inside
	Tag         string // names this write of the entry; see TagOf
}

// ReadOption is an option of a call that opens values.
type ReadOption = seal.ReadOption

// MinClass makes a read return classify.ErrTooLow for a value whose class is lower than class.
func MinClass(class classify.Class) ReadOption { return seal.MinClass(class) }

// GetDecrypted returns the value under key. It returns ErrNotFound if there is none, and the errors of
// seal.Sealer.OpenStored and of the store.
func (c *Cache) GetDecrypted(ctx context.Context, key string, options ...ReadOption) ([]byte, error) {
	o, err := c.open(ctx, key, options)
	return o.Value, err
}

// Get is GetDecrypted with everything that the package says of the value, all of it authentic.
func (c *Cache) Get(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	return c.open(ctx, key, options)
}

// Inspect returns the entry under key without its value and without opening it: nothing of it is
// authenticated. Only an entry that seems to have been kept for too long is opened, before it is removed. Errors are those of Get.
func (c *Cache) Inspect(ctx context.Context, key string) (Entry, error) {
	_, entry, err := c.Package(ctx, key)
	return entry, err
}

// Package returns the package under key as it lies at rest, and the entry that Inspect returns. Nothing of them is authenticated.
func (c *Cache) Package(ctx context.Context, key string) ([]byte, Entry, error) {
	stored, err := c.load(ctx, key)
	if err != nil {
		return nil, Entry{}, err
	}
	entry, err := c.inspect(stored)
	if err == nil {
		err = c.checkOutlived(ctx, key, stored)
	}
	if err != nil {
		return nil, Entry{}, err
	}
	return stored, entry, nil
}

// inspect gives what a stored value says of itself.
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

// TTL returns the time that the entry under key has left, 0 if it is kept for ever. It returns ErrNotFound if
// there is none.
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

// List returns a page of about limit keys that begin with prefix, as kv.Store.Scan does.
func (c *Cache) List(ctx context.Context, prefix, cursor string, limit int) (keys []string, next string, err error) {
	keys, next, err = c.store.Scan(ctx, c.prefix+prefix, cursor, limit)
	for i := range keys {
		keys[i] = strings.TrimPrefix(keys[i], c.prefix)
	}
	return keys, next, err
}

func (c *Cache) load(ctx context.Context, key string) ([]byte, error) {
	if err := c.checkKey(key); err != nil {
		return nil, err
	}
	pkg, ok, err := kv.Get(ctx, c.store, c.prefix+key)
	if err == nil && !ok {
		err = ErrNotFound
	}
	return pkg, foreign(err)
}

// foreign returns envelope.ErrAuthentication in the place of kv.ErrWrongType, and every other error as it is.
func foreign(err error) error {
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

// openStored opens what is stored under a key, unless it was kept for too long.
func (c *Cache) openStored(ctx context.Context, key string, stored []byte, options []ReadOption) (Entry, error) {
	entry, err := c.Open(nil, key, stored, options...)
	if err == nil {
		err = c.removeOutlived(ctx, key, stored, &entry)
	}
	if err != nil {
		return Entry{}, err
	}
	return entry, nil
}

// Open opens a package that Package gave for key. The value is made within dst's capacity where that
// suffices; dst must not overlap the package. Errors are Get's.
func (c *Cache) Open(dst []byte, key string, pkg []byte, options ...ReadOption) (Entry, error) {
	pkg, err := c.unmark(pkg)
	if err != nil {
		return Entry{}, err
	}
	var o seal.Opened
	if policy := seal.NewOpenPolicy(format.UseCache, options...); c.plain {
		o, err = openPlain(pkg, policy)
	} else {
		o, err = c.sealer.OpenStored(dst[:0], pkg, c.place(key), policy)
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
