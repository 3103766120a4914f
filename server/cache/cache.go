// Package cache is the encrypted cache: values rest sealed in a key-value store and are returned only if they
// are authentic.
//
// What it guarantees: the store sees packages only (those of the class public are readable, but cannot be
// changed unnoticed); a value that was altered, copied to another key or taken from another tenant is
// envelope.ErrAuthentication, never a value; nothing outlives the longest time that its class allows, even if the
// store does not expire it (package clock has the rules for wrong clocks). Each
// owner's entries are kept apart behind a prefix of their own. Keys and contexts are readable in the store,
// so put nothing personal in them.
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

// Collection is the collection of all packages of the cache (SPEC.md section 5).
const Collection = "cache"

// The sentinels; those of packages seal, kv and shared/envelope come through as well.
var (
	// ErrNotFound says that there is no value under a key, or no longer.
	ErrNotFound = &codes.Error{Of: "not_found", Text: "there is nothing under that key"}
	// ErrTTL says that a time to live is longer than the class allows.
	ErrTTL = &codes.Error{Of: "ttl_out_of_range", Text: "the time to live is longer than the class allows"}
	// ErrPrecondition says that an entry is not what a Condition asks for. Nothing was changed.
	ErrPrecondition = &codes.Error{
		Of: "precondition_failed", Text: "the entry is not the one that If-Match or If-None-Match asks for; nothing was changed",
	}
	// ErrNegativeTTL says that a time to live is negative.
	ErrNegativeTTL = &codes.Error{Of: "invalid_argument", Text: "the time to live is negative"}
)

// Cache is an encrypted cache. It is safe for concurrent use.
type Cache struct {
	store   kv.Store
	sealer  *seal.Sealer
	owner   string
	prefix  string // of all the owner's keys in the store
	longest [classify.PHI + 1]time.Duration
	plain   bool

	clock    *clock.Clock
	outlived func(class classify.Class)
}

// Option changes what New makes.
type Option func(*Cache)

// WithMaxTTL sets the longest, and default, time to live of a class, instead of the table's; 0 is none. An
// invalid class changes nothing.
func WithMaxTTL(class classify.Class, longest time.Duration) Option {
	return func(c *Cache) {
		if class.Valid() {
			c.longest[class] = max(longest, 0)
		}
	}
}

// WithClock sets the clock, for tests.
func WithClock(clock *clock.Clock) Option { return func(c *Cache) { c.clock = clock } }

// WithOutlived has removed called for each entry that was removed since the store kept it for longer than its class allows:
// somebody took its time to live away.
func WithOutlived(removed func(class classify.Class)) Option {
	return func(c *Cache) { c.outlived = removed }
}

// New makes a cache over a store with an owner's sealer. The store stays the caller's to close.
func New(store kv.Store, sealer *seal.Sealer, options ...Option) *Cache {
	c := &Cache{
		store: store, sealer: sealer, owner: sealer.Owner(), prefix: kv.Prefix(sealer.Owner(), Collection),
		clock: clock.System, outlived: func(classify.Class) {},
	}
	for _, class := range classify.All {
		c.longest[class] = time.Duration(class.Rules().MaxTTL) * time.Second
	}
	for _, option := range options {
		option(c)
	}
	return c
}

// Wrap makes a cache over the caller's own go-redis client, which the cache does not close.
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

// SetEncrypted seals value and stores it under key, which is at most 1,024 bytes of UTF-8. It returns ErrTTL, ErrNegativeTTL, and the
// errors of seal.Sealer.Seal and of the store. If the store returns an error, the value may or may not have been replaced.
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
	if err := c.seal(b, &item); err != nil {
		return err
	}
	return kv.Set(ctx, c.store, c.prefix+key, b.bytes, ttl)
}

// seal appends the item's package to b.
func (c *Cache) seal(b *buffer, item *Item) error {
	described, err := format.NewContext(item.Context)
	if err != nil {
		return err
	}
	request := seal.Request{
		Use: format.UseCache, Class: item.Class, Type: format.Bytes, Place: c.place(item.Key), Context: described,
		EncryptedAt: c.clock.Date().UnixMilli(),
	}
	if item.MediaType != "" {
		request.Type, request.MediaType = format.Blob, item.MediaType
	}
	sealed, err := c.pack(b.bytes, &request, item.Value)
	if err != nil {
		return err
	}
	b.bytes = sealed
	return nil
}

func (c *Cache) pack(dst []byte, request *seal.Request, value []byte) ([]byte, error) {
	if c.plain {
		return appendPlain(dst, request, value)
	}
	return c.sealer.Seal(dst, *request, value)
}

func (c *Cache) place(key string) format.Place {
	return format.Place{Owner: c.owner, Collection: Collection, Name: key, Named: true}
}

// ttl decides how long a value is kept; 0 is for ever.
func (c *Cache) ttl(class classify.Class, asked time.Duration) (time.Duration, error) {
	if !class.Valid() {
		return 0, classify.ErrUnknown
	}
	longest := c.longest[class]
	switch {
	case asked < 0:
		return 0, ErrNegativeTTL
	case asked == 0:
		return longest, nil
	case longest > 0 && asked > longest:
		return 0, ErrTTL
	}
	return asked, nil
}

// Exists reports whether there is an entry under key, or something else that a write would replace, without opening it.
func (c *Cache) Exists(ctx context.Context, key string) (bool, error) {
	if err := c.checkKey(key); err != nil {
		return false, err
	}
	found, err := c.store.Read(ctx, []string{c.prefix + key}, longHead)
	if errors.Is(err, kv.ErrWrongType) {
		return true, nil
	}
	if err != nil || !found[0].Exists() {
		return false, err
	}
	if h, _ := c.header(&found[0]); !c.isOutlived(&h) {
		return true, nil
	}
	_, _, err = c.Package(ctx, key) // removes it
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete removes the entry under key and reports whether there was one.
func (c *Cache) Delete(ctx context.Context, key string) (bool, error) {
	if err := c.checkKey(key); err != nil {
		return false, err
	}
	return kv.Delete(ctx, c.store, c.prefix+key)
}

// checkKey returns format.ErrTooLarge or format.ErrInvalid for a key that nothing can be stored under.
func (c *Cache) checkKey(key string) error {
	p := c.place(key)
	return p.Check()
}
