package cache

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// A store may keep an entry for longer than it was told: somebody removed its time to live, or restored an old copy. So each
// read compares the time in the package, which is authenticated, with the longest time of the class as it is configured now.
// Package clock has the rules for clocks that are apart, or are set back or forward.

// longHead is how many bytes hold every header.
const longHead = 32 << 10

// isOutlived reports whether an entry was kept for longer than its class allows.
func (c *Cache) isOutlived(h *format.Header) bool {
	class := classify.Class(h.Class)
	return class.Valid() && c.clock.SurelyExpired(time.UnixMilli(h.EncryptedAt), c.longest[class])
}

// header parses the header of a stored value, or of its beginning.
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

// checkOutlived removes the entry under a key if it was kept for too long, and then returns ErrNotFound. The time in the package decides
// nothing before the package has been opened: if it does not open, checkOutlived returns the error of Open and removes nothing.
// It does not open a package of a time that is within the limit.
func (c *Cache) checkOutlived(ctx context.Context, key string, stored []byte) error {
	if h, err := c.header(&kv.ReadResult{Value: stored}); err != nil || !c.isOutlived(&h) {
		return nil // a header that cannot be parsed is the caller's to refuse
	}
	_, err := c.openStored(ctx, key, stored, nil)
	return err
}

// removeOutlived removes an entry that was opened from stored if it was kept for too long. Then it returns ErrNotFound, or the error of
// the store.
func (c *Cache) removeOutlived(ctx context.Context, key string, stored []byte, entry *Entry) error {
	if !entry.Class.Valid() || !c.clock.SurelyExpired(entry.EncryptedAt, c.longest[entry.Class]) {
		return nil
	}
	removed, err := kv.DeleteIf(ctx, c.store, c.prefix+key, stored)
	if err != nil {
		return err
	}
	if removed {
		c.outlived(entry.Class)
	}
	return ErrNotFound
}
