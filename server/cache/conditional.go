package cache

import (
	"context"
	"encoding/base64"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/format"
)

// Condition states what must be under a key for a change to take effect. The zero Condition is always met.
type Condition struct {
	Absent  bool     // there is no entry
	Present bool     // there is an entry; if Tags is not nil, its tag is one of them
	Tags    []string // used only with Present
}

// Sealed is an item that Seal has encrypted, for Put.
type Sealed struct {
	KeyID format.KeyID  // the key that encrypted it
	Tag   string        // see TagOf
	TTL   time.Duration // 0 means no limit

	key    string
	stored []byte
}

// TagOf returns the tag of a package, which identifies one write of an entry: the random nonce of the package in
// base64url. It is empty if pkg is not a package.
func TagOf(pkg []byte) string {
	h, n, err := format.ParseHeader(pkg)
	if err != nil || h.Algorithm == format.Chunked || len(pkg) < n+format.NonceSize {
		return ""
	}
	return tagAt(pkg, n)
}

// tagAt returns the tag of a package whose header has n bytes.
func tagAt(pkg []byte, n int) string {
	return base64.RawURLEncoding.EncodeToString(pkg[n : n+format.NonceSize])
}

// Seal encrypts an item, which Put then stores. Between the two, a caller may record the use of the key. The package is
// in the capacity of dst if that suffices; dst must not overlap the value. It returns the errors of SetEncrypted.
func (c *Cache) Seal(ctx context.Context, dst []byte, item *Item) (Sealed, error) {
	ttl, err := c.ttl(item.Class, item.TTL)
	if err != nil {
		return Sealed{}, err
	}
	b := buffer{dst[:0]}
	h, err := c.seal(ctx, &b, item)
	if err != nil {
		return Sealed{}, err
	}
	pkg, err := c.unmark(b.bytes)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{KeyID: h.KeyID, Tag: tagAt(pkg, h.Size()), TTL: ttl, key: item.Key, stored: b.bytes}, nil
}

// Put stores a sealed item if the condition is met; check and write are atomic. It returns ErrPrecondition,
// envelope.ErrAuthentication if the condition has tags and the stored value is not a package of the cache, the errors
// of Get if the stored entry seems to have expired and does not open, and the errors of the store.
func (c *Cache) Put(ctx context.Context, sealed *Sealed, condition Condition) error {
	name := c.prefix + sealed.key
	switch {
	case condition.Absent:
		return c.putNew(ctx, name, sealed)
	case !condition.Present:
		return kv.Set(ctx, c.store, name, sealed.stored, sealed.TTL)
	}
	return c.change(ctx, sealed.key, condition, func(old []byte) (bool, error) {
		return kv.SetIf(ctx, c.store, name, old, sealed.stored, sealed.TTL)
	})
}

// putNew stores a sealed item if its key has no entry, or an expired one.
func (c *Cache) putNew(ctx context.Context, name string, sealed *Sealed) error {
	for {
		done, err := kv.SetIf(ctx, c.store, name, nil, sealed.stored, sealed.TTL)
		if done || err != nil {
			return err
		}
		exists, err := c.Exists(ctx, sealed.key)
		if err != nil {
			return err
		}
		if exists {
			return ErrPrecondition
		}
	}
}

// Remove deletes the entry under key if the condition is met; check and deletion are atomic. Without an entry, it
// returns ErrPrecondition if the condition requires one, and otherwise ErrNotFound.
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

// Expire sets the time to live of the entry under key to ttl from now, which must be positive. It returns ErrTTL if the
// entry would be kept for longer than its class allows, counted from its encryption. It opens the entry and returns it
// without its value. Other errors are ErrPrecondition and those of Get.
func (c *Cache) Expire(ctx context.Context, key string, ttl time.Duration, condition Condition) (Entry, error) {
	var entry Entry
	err := c.change(ctx, key, condition, func(old []byte) (_ bool, err error) {
		if entry, err = c.authenticate(ctx, key, old); err != nil {
			return false, err
		}
		maxTTL := c.maxTTL[entry.Class]
		if ttl <= 0 {
			return false, ErrNegativeTTL
		}
		if maxTTL > 0 && ttl > c.clock.Left(entry.EncryptedAt, maxTTL) {
			return false, ErrTTL
		}
		return kv.ExpireIf(ctx, c.store, c.prefix+key, old, ttl)
	})
	return entry, err
}

// authenticate opens a package and returns its entry without the value.
func (c *Cache) authenticate(ctx context.Context, key string, pkg []byte) (Entry, error) {
	b := getBuffer()
	defer b.putCleared()
	entry, err := c.Open(ctx, b.reserve(len(pkg)), key, pkg)
	entry.Value = nil
	return entry, err
}

// change calls try with the stored package under key, which try replaces if it is still there. It calls try again with
// the new package if another write came in between and the condition is still met.
func (c *Cache) change(ctx context.Context, key string, condition Condition, try func(old []byte) (bool, error)) error {
	for {
		old, err := c.loadLive(ctx, key)
		if err == ErrNotFound && condition.Present {
			return ErrPrecondition
		}
		if err != nil {
			return err
		}
		if condition.Tags != nil {
			entry, err := c.inspect(old)
			if err != nil {
				return err
			}
			if !slices.Contains(condition.Tags, entry.Tag) {
				return ErrPrecondition
			}
		}
		if done, err := try(old); done || err != nil {
			return storedTypeError(err)
		}
	}
}

// loadLive is load, but returns ErrNotFound for an expired entry.
func (c *Cache) loadLive(ctx context.Context, key string) ([]byte, error) {
	stored, err := c.load(ctx, key)
	if err != nil {
		return nil, err
	}
	return stored, c.checkExpired(ctx, key, stored)
}
