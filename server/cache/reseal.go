package cache

import (
	"context"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Resealed says what Reseal did.
type Resealed uint8

// What Reseal does.
const (
	Kept    Resealed = iota // nothing: it is not due, or was deleted or has expired
	Foreign                 // nothing: what is there is no package of a cache that encrypts
	Anew                    // the value is now under its class's primary key
	Changed                 // nothing: the entry was written meanwhile
)

// Reseal seals the value under key anew where due says so of its class and key, and puts it in the place of what it was sealed from, in one
// step with the check that this is still there: what was written meanwhile stays. The entry keeps the time that it has left, and
// what it says of when it was first sealed; its tag is another one. The Entry is what Inspect gives of the former package. Errors are those of
// seal.Sealer.Open and Seal, and the store's, and leave the entry as it was.
func (c *Cache) Reseal(ctx context.Context, key string, due func(class classify.Class, id format.KeyID) bool) (Entry, Resealed, error) {
	old, err := c.load(ctx, key)
	if err == ErrNotFound {
		return Entry{}, Kept, nil
	}
	if err != nil {
		return Entry{}, Kept, err
	}
	p, err := format.Parse(old)
	if err != nil || c.plain || p.Header.Source != format.FromKeyset || p.Header.Algorithm == format.Chunked || format.Use(p.Header.Use) != format.UseCache {
		return Entry{}, Foreign, nil
	}
	entry := entryOf(&seal.Opened{Header: p.Header}, old)
	if !due(entry.Class, entry.KeyID) {
		return entry, Kept, nil
	}
	anew, err := c.anew(key, old)
	if err != nil {
		return entry, Kept, err
	}
	swapped, err := c.store.CompareAndSwap(ctx, c.prefix+key, old, anew)
	switch {
	case err != nil:
		return entry, Kept, err
	case !swapped:
		return entry, Changed, nil
	}
	return entry, Anew, nil
}

// anew opens a package and seals what was in it, as it was.
func (c *Cache) anew(key string, pkg []byte) ([]byte, error) {
	o, err := c.sealer.Open(nil, pkg, c.want(key, nil))
	if err != nil {
		return nil, err
	}
	h := &o.Header
	return c.sealer.Seal(nil, seal.Request{
		Use: h.Use, Class: classify.Class(h.Class), Type: h.Type, Flags: h.Flags, Place: c.place(key), Context: o.Context(), Revision: h.Revision,
		EncryptedAt: h.EncryptedAt, MediaType: o.Details.MediaType, FileName: o.Details.FileName, LastModified: o.Details.LastModified,
	}, o.Value)
}
