// Package cache is an encrypted cache: it stores values as encrypted packages in a key-value store, and returns only
// authentic values.
//
// A call that seals or opens a value may have to unlock the keys of the owner, which may call a KMS. It waits until ctx
// ends, and then returns the error of ctx, such as context.DeadlineExceeded.
//
// It guarantees that
//   - the store contains packages only; those of the class public are readable, but authenticated,
//   - a value that was altered, moved to another key or taken from another tenant is never returned, but
//     envelope.ErrAuthentication,
//   - a value is not returned after the maximum time to live of its class, even if the store does not expire it.
//
// The entries of each owner have a prefix of their own in the store. Keys and contexts are readable in the store, so
// they must not contain personal data.
package cache

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/internal/clock"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// Collection is the collection in the place of every package of the cache (SPEC.md section 5).
const Collection = "cache"

// The errors of this package. Calls also return the errors of packages seal, kv, classify, format and envelope.
var (
	// ErrNotFound means that the key has no entry, or an expired one.
	ErrNotFound = &codes.Error{ErrorCode: "not_found", Message: "there is nothing under that key"}
	// ErrTTL means that the time to live is longer than the class allows.
	ErrTTL = &codes.Error{ErrorCode: "ttl_out_of_range", Message: "the time to live is longer than the class allows"}
	// ErrPrecondition means that the entry does not meet the Condition. Nothing was changed.
	ErrPrecondition = &codes.Error{
		ErrorCode: "precondition_failed", Message: "the entry is not the one that If-Match or If-None-Match asks for; nothing was changed",
	}
	// ErrNegativeTTL means that the time to live is negative, or 0 for Expire.
	ErrNegativeTTL = &codes.Error{ErrorCode: "invalid_argument", Message: "the time to live is negative"}
)

// Cache is an encrypted cache. It is safe for concurrent use.
type Cache struct {
	store  kv.Store
	sealer *seal.Sealer
	owner  string
	prefix string                          // of the owner's keys in the store
	maxTTL [classify.PHI + 1]time.Duration // 0 means no limit
	plain  bool                            // values are not encrypted; see Unencrypted

	clock     *clock.Clock
	onExpired func(class classify.Class)
}

// Option is an option of New and Wrap.
type Option func(*Cache)

// WithMaxTTL sets the maximum time to live of a class, which is also its default, instead of the one in
// classify.Class.Rules. 0 means no limit. An invalid class is ignored.
func WithMaxTTL(class classify.Class, d time.Duration) Option {
	return func(c *Cache) {
		if class.Valid() {
			c.maxTTL[class] = max(d, 0)
		}
	}
}

// WithExpiryHook sets a function that is called when the cache has deleted an entry because the store kept it for
// longer than the class allows, for instance because its time to live was removed in the store.
func WithExpiryHook(deleted func(class classify.Class)) Option {
	return func(c *Cache) { c.onExpired = deleted }
}

// New returns a cache in a store, with the keys of an owner. The caller closes the store when the cache is no longer
// used.
func New(store kv.Store, sealer *seal.Sealer, options ...Option) *Cache {
	c := &Cache{
		store: store, sealer: sealer, owner: sealer.Owner(), prefix: kv.Prefix(sealer.Owner(), Collection),
		clock: clock.System, onExpired: func(classify.Class) {},
	}
	for _, class := range classify.All {
		c.maxTTL[class] = time.Duration(class.Rules().MaxTTL) * time.Second
	}
	for _, option := range options {
		option(c)
	}
	return c
}

// WithStore returns a cache with the same keys and options over another store, such as one that counts what is read.
func (c *Cache) WithStore(store kv.Store) *Cache {
	changed := *c
	changed.store = store
	return &changed
}

// Wrap returns a cache in Redis, with the keys of an owner. The cache does not close the client.
func Wrap(client redis.UniversalClient, sealer *seal.Sealer, options ...Option) *Cache {
	return New(rediskv.New(client), sealer, options...)
}

// WriteOption is an option of SetEncrypted.
type WriteOption struct {
	ttl       time.Duration
	context   map[string]string
	mediaType string
}

// TTL sets how long the value is kept. The default is as long as the class allows.
func TTL(d time.Duration) WriteOption { return WriteOption{ttl: d} }

// Context sets texts that are authenticated with the value. They are readable in the store.
func Context(context map[string]string) WriteOption { return WriteOption{context: context} }

// MediaType sets the media type of the value, at most 255 bytes, which is kept inside the package.
func MediaType(mediaType string) WriteOption { return WriteOption{mediaType: mediaType} }

// SetEncrypted seals value and stores it under key, which is at most 1,024 bytes of UTF-8. It returns ErrTTL,
// ErrNegativeTTL, and the errors of seal.Sealer.Seal and of the store. If the store returns an error, the value may or
// may not have been replaced.
func (c *Cache) SetEncrypted(ctx context.Context, key string, value []byte, class classify.Class, options ...WriteOption) error {
	item := Item{Key: key, Value: value, Class: class}
	for i := range options {
		o := &options[i]
		item.TTL = cmp.Or(o.ttl, item.TTL)
		item.MediaType = cmp.Or(o.mediaType, item.MediaType)
		if o.context != nil {
			item.Context = o.context
		}
	}
	ttl, err := c.ttl(class, item.TTL)
	if err != nil {
		return err
	}
	b := getBuffer()
	defer b.put()
	if _, err := c.seal(ctx, b, &item); err != nil {
		return err
	}
	return kv.Set(ctx, c.store, c.prefix+key, b.bytes, ttl)
}

// seal appends the package of the item to b, and returns the header of the package.
func (c *Cache) seal(ctx context.Context, b *buffer, item *Item) (format.Header, error) {
	itemContext, err := format.NewContext(item.Context)
	if err != nil {
		return format.Header{}, err
	}
	request := seal.Request{
		Use: format.UseCache, Class: item.Class, Type: format.Bytes, Place: c.place(item.Key), Context: itemContext,
		EncryptedAt: c.clock.Date().UnixMilli(),
	}
	if item.MediaType != "" {
		request.Type, request.MediaType = format.Blob, item.MediaType
	}
	sealed, h, err := c.pack(ctx, b.bytes, &request, item.Value)
	if err != nil {
		return format.Header{}, err
	}
	b.bytes = sealed
	return h, nil
}

// pack appends the package of value to dst, and returns its header. It does not encrypt if the cache is Unencrypted.
func (c *Cache) pack(ctx context.Context, dst []byte, request *seal.Request, value []byte) ([]byte, format.Header, error) {
	if c.plain {
		return appendPlain(dst, request, value)
	}
	return c.sealer.SealWithHeader(ctx, dst, *request, value)
}

// place returns the place of the package under key.
func (c *Cache) place(key string) format.Place {
	return format.Place{Owner: c.owner, Collection: Collection, Name: key, Named: true}
}

// ttl returns the time to live of a value for which the caller requested one; 0 means no limit.
func (c *Cache) ttl(class classify.Class, requested time.Duration) (time.Duration, error) {
	if !class.Valid() {
		return 0, classify.ErrUnknown
	}
	maxTTL := c.maxTTL[class]
	switch {
	case requested < 0:
		return 0, ErrNegativeTTL
	case requested == 0:
		return maxTTL, nil
	case maxTTL > 0 && requested > maxTTL:
		return 0, ErrTTL
	}
	return requested, nil
}

// Exists reports whether there is an entry under key, or anything else in the store that a write would replace. It
// opens an entry only if that seems to have expired.
func (c *Cache) Exists(ctx context.Context, key string) (bool, error) {
	if err := c.checkKey(key); err != nil {
		return false, err
	}
	found, err := c.store.Read(ctx, []string{c.prefix + key}, maxHeader)
	if errors.Is(err, kv.ErrWrongType) {
		return true, nil
	}
	if err != nil || !found[0].Exists() {
		return false, err
	}
	if h, _ := c.header(&found[0]); !c.isExpired(&h) {
		return true, nil
	}
	_, _, err = c.Package(ctx, key) // deletes it if it has expired
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete deletes the entry under key, and reports whether there was one.
func (c *Cache) Delete(ctx context.Context, key string) (bool, error) {
	if err := c.checkKey(key); err != nil {
		return false, err
	}
	return kv.Delete(ctx, c.store, c.prefix+key)
}

// checkKey returns format.ErrTooLarge for a key of more than 1,024 bytes, and format.ErrInvalid for one that is not
// UTF-8.
func (c *Cache) checkKey(key string) error {
	p := c.place(key)
	return p.Check()
}
