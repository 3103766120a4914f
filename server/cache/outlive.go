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
	return class.Valid() && c.clock.Outlived(time.UnixMilli(h.EncryptedAt), c.longest[class])
}

// header parses the header of a stored value, or of its beginning.
func (c *Cache) header(stored *kv.Sized) (h format.Header, err error) {
	begin := stored.Value
	if begin == nil {
		begin = stored.Begin
	}
	pkg, err := c.unmark(begin)
	if err == nil {
		h, _, err = format.ParseHeader(pkg)
	}
	return h, err
}

// removeOutlived removes what is stored under a key if it was kept for too long. Then it returns ErrNotFound, or the error of the
// store.
func (c *Cache) removeOutlived(ctx context.Context, key string, stored []byte, class classify.Class, encryptedAt time.Time) error {
	if !class.Valid() || !c.clock.Outlived(encryptedAt, c.longest[class]) {
		return nil
	}
	removed, err := kv.DeleteIf(ctx, c.store, c.prefix+key, stored)
	if err != nil {
		return err
	}
	if removed {
		c.outlived(class)
	}
	return ErrNotFound
}
