package cache

import (
	"context"
	"encoding/base64"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/format"
)

// Condition is what must be under a key for a change to take effect; the zero Condition is always met.
type Condition struct {
	Absent  bool     // nothing
	Present bool     // an entry; with Tags, one that has one of them
	Tags    []string // only with Present
}

// Sealed is an item on its way into the store.
type Sealed struct {
	Entry // without its value
	key   string
	pkg   []byte
	TTL   time.Duration // 0 is for ever
}

// TagOf identifies one write of an entry: the nonce of its package, which is random and new each time, in
// base64url. It is empty if pkg is not a package.
func TagOf(pkg []byte) string {
	h, n, err := format.ParseHeader(pkg)
	if err != nil || h.Algorithm == format.Chunked || len(pkg) < n+format.NonceSize {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(pkg[n : n+format.NonceSize])
}

// Seal does the half of a write that needs a key; Put does the other. In between a caller may record the
// key's use. The package is made within dst's capacity where that suffices; dst must not overlap the value.
// Errors are those of SetEncrypted.
func (c *Cache) Seal(dst []byte, item *Item) (Sealed, error) {
	ttl, err := c.ttl(item.Class, item.TTL)
	if err != nil {
		return Sealed{}, err
	}
	b := buffer{dst[:0]}
	if err := c.seal(&b, item); err != nil {
		return Sealed{}, err
	}
	entry, err := c.inspect(b.bytes)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{Entry: entry, key: item.Key, pkg: b.bytes, TTL: ttl}, nil
}

// Put stores what Seal made, in one step with the check of the condition. It returns ErrPrecondition,
// envelope.ErrAuthentication if the condition names tags and what is there is not a package of the cache, the errors of Get if the
// entry there seems to have been kept for too long and does not open, and the errors of the store.
func (c *Cache) Put(ctx context.Context, sealed *Sealed, condition Condition) error {
	name := c.prefix + sealed.key
	switch {
	case condition.Absent:
		return c.putNew(ctx, name, sealed)
	case !condition.Present:
		return kv.Set(ctx, c.store, name, sealed.pkg, sealed.TTL)
	}
	return c.change(ctx, sealed.key, condition, func(old []byte) (bool, error) {
		return kv.SetIf(ctx, c.store, name, old, sealed.pkg, sealed.TTL)
	})
}

// putNew stores what Seal made if there is nothing under its key, or what was kept for too long.
func (c *Cache) putNew(ctx context.Context, name string, sealed *Sealed) error {
	for {
		done, err := kv.SetIf(ctx, c.store, name, nil, sealed.pkg, sealed.TTL)
		if done || err != nil {
			return err
		}
		if there, err := c.Exists(ctx, sealed.key); there || err != nil {
			return settled(false, err)
		}
	}
}

// Remove deletes the entry under key, in one step with the check of the condition. It returns ErrNotFound
// where there is none, or ErrPrecondition where the condition asks for one.
func (c *Cache) Remove(ctx context.Context, key string, condition Condition) error {
	if !condition.Present {
		existed, err := c.Delete(ctx, key)
		if err == nil && !existed {
			err = ErrNotFound
		}
		return err
	}
	return c.change(ctx, key, condition, func(old []byte) (bool, error) { return kv.DeleteIf(ctx, c.store, c.prefix+key, old) })
}

// Expire keeps the entry under key for ttl from now, which must be positive. Counted from when its value was
// sealed, it is never kept longer than its class allows: beyond that Expire returns ErrTTL. The entry is opened, and returned without
// its value. Other errors are those of Get, and ErrPrecondition.
func (c *Cache) Expire(ctx context.Context, key string, ttl time.Duration, condition Condition) (Entry, error) {
	var entry Entry
	err := c.change(ctx, key, condition, func(old []byte) (_ bool, err error) {
		if entry, err = c.authenticate(key, old); err != nil {
			return false, err
		}
		longest := c.longest[entry.Class]
		if ttl <= 0 {
			return false, ErrNegativeTTL
		}
		if longest > 0 && ttl > c.clock.Left(entry.EncryptedAt, longest) {
			return false, ErrTTL
		}
		return kv.ExpireIf(ctx, c.store, c.prefix+key, old, ttl)
	})
	return entry, err
}

// authenticate opens a package and drops its value.
func (c *Cache) authenticate(key string, pkg []byte) (Entry, error) {
	b := getBuffer()
	defer b.putCleared()
	entry, err := c.Open(b.reserve(len(pkg)), key, pkg)
	entry.Value = nil
	return entry, err
}

// change makes a change to the package that is under key, again for as long as another one comes in between
// that the condition takes too.
func (c *Cache) change(ctx context.Context, key string, condition Condition, do func(old []byte) (bool, error)) error {
	for {
		old, err := c.loadLive(ctx, key)
		if err == ErrNotFound && condition.Present {
			return ErrPrecondition
		}
		if err != nil {
			return err
		}
		if condition.Tags != nil {
			found, err := c.inspect(old)
			if err != nil {
				return err
			}
			if !slices.Contains(condition.Tags, found.Tag) {
				return ErrPrecondition
			}
		}
		if done, err := do(old); done || err != nil {
			return foreign(err)
		}
	}
}

// loadLive is load without what was kept for too long.
func (c *Cache) loadLive(ctx context.Context, key string) ([]byte, error) {
	stored, err := c.load(ctx, key)
	if err != nil {
		return nil, err
	}
	return stored, c.checkOutlived(ctx, key, stored)
}

func settled(done bool, err error) error {
	if err == nil && !done {
		return ErrPrecondition
	}
	return err
}
