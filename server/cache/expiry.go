package cache

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// A store may keep an entry for longer than its time to live, if that was removed in the store or an old copy of the
// store was restored. So each read compares the time in the package, which is authenticated, with the maximum time to
// live of the class. Package clock has the rules for clocks that differ between servers or are set.

// maxHeader is the size of the longest header, in bytes, rounded up.
const maxHeader = 32 << 10

// isExpired reports whether an entry is older than its class allows. The header is not authenticated.
func (c *Cache) isExpired(h *format.Header) bool {
	class := classify.Class(h.Class)
	return class.Valid() && c.clock.SurelyExpired(time.UnixMilli(h.EncryptedAt), c.maxTTL[class])
}

// header parses the header at the beginning of a stored value.
func (c *Cache) header(stored *kv.ReadResult) (h format.Header, err error) {
	begin := stored.Value
	if begin == nil {
		begin = stored.Prefix
	}
	pkg, err := c.unmark(begin)
	if err == nil {
		h, _, err = format.ParseHeader(pkg)
	}
	return h, err
}

// checkExpired returns ErrNotFound if the entry under a key has expired, and deletes it. The time in the package is not
// authentic before the package is opened: so checkExpired opens a package that seems to have expired, and if that
// fails, it returns the error and deletes nothing.
func (c *Cache) checkExpired(ctx context.Context, key string, stored []byte) error {
	if h, err := c.header(&kv.ReadResult{Value: stored}); err != nil || !c.isExpired(&h) {
		return nil // the caller refuses a header that cannot be parsed
	}
	_, err := c.openStored(ctx, key, stored, nil)
	return err
}

// deleteExpired deletes an authentic entry, which was opened from stored, if it has expired. Then it returns
// ErrNotFound, or the error of the store.
func (c *Cache) deleteExpired(ctx context.Context, key string, stored []byte, entry *Entry) error {
	if !entry.Class.Valid() || !c.clock.SurelyExpired(entry.EncryptedAt, c.maxTTL[entry.Class]) {
		return nil
	}
	deleted, err := kv.DeleteIf(ctx, c.store, c.prefix+key, stored)
	if err != nil {
		return err
	}
	if deleted {
		c.onExpired(entry.Class)
	}
	return ErrNotFound
}
