package cache

import (
	"context"
	"errors"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Resealed says what Reseal did.
type Resealed uint8

// What Reseal does.
const (
	Kept    Resealed = iota // nothing: it is not due, does not open, was deleted or has expired; an entry that was kept for too long is removed
	Foreign                 // nothing: what is there is no package of a cache that encrypts
	Anew                    // the value is now under its class's primary key
	Changed                 // nothing: the entry was written meanwhile
	Large                   // nothing: it is longer than the limit, and may be due
)

// Resealing is what became of one entry.
type Resealing struct {
	Entry // what Inspect gives of the former package; zero where there was none, or none was read
	Did   Resealed
	Bytes int   // of what is in the store, where it is Large
	Err   error // of the entry: those of seal.Sealer.OpenStored and Seal. It is as it was
}

// Due decides by the class and the key of an entry whether it is to be sealed anew.
type Due func(class classify.Class, id format.KeyID) bool

// Reseal seals the values under keys anew that are due, and puts each in the place of what it was sealed
// from, in one step with the check that this is still there: what was written meanwhile stays. An entry keeps
// the time that it has left, and what it says of when it was first sealed; its tag is another one. Entries
// that are due and whose packages are longer than limit bytes are left. It takes two calls of the store, and
// three times the bytes of the packages in memory at most. Its own error is the store's: then those that are
// Anew are, and what became of the others is not known.
func (c *Cache) Reseal(ctx context.Context, keys []string, limit int, due Due) ([]Resealing, error) {
	all := make([]Resealing, len(keys))
	packages, err := c.store.Read(ctx, c.stored(keys), limit)
	if err != nil {
		return all, err
	}
	b, plain := getBuffer(), getBuffer()
	defer b.put()
	defer plain.putCleared()
	var which, ends []int
	for i, key := range keys {
		if c.reseal(ctx, &all[i], b, plain, key, packages[i], due) {
			which, ends = append(which, i), append(ends, len(b.bytes))
		}
	}
	swaps, start := make([]kv.Swap, len(which)), 0
	for j, i := range which { // only now does the buffer no longer move
		swaps[j] = kv.Swap{Key: c.prefix + keys[i], Old: packages[i].Value, Value: b.bytes[start:ends[j]:ends[j]]}
		start = ends[j]
	}
	swapped, err := kv.SwapMany(ctx, c.store, swaps)
	for j, done := range swapped {
		switch one := &all[which[j]]; {
		case done:
			one.Did = Anew
		case err == nil:
			one.Did = Changed
		}
	}
	return all, err
}

// reseal appends the package that is to be in an entry's place to b, and reports whether there is one.
func (c *Cache) reseal(ctx context.Context, one *Resealing, b, plain *buffer, key string, old kv.ReadResult, due Due) bool {
	whole, text := old.Value != nil, old.Value
	if !whole {
		text = old.Prefix
	}
	if one.Err = c.checkKey(key); one.Err != nil || text == nil {
		return false
	}
	h, n, err := format.ParseHeader(text)
	if err == nil {
		err = format.CheckBody(&h, old.Size-n)
	}
	switch {
	case err != nil && !whole: // its header may be longer than what was read
	case err != nil, c.plain, h.Source != format.FromKeyset, h.Algorithm == format.Chunked, format.Use(h.Use) != format.UseCache:
		one.Did = Foreign
		return false
	case whole && c.isOutlived(&h):
		if err := c.checkOutlived(ctx, key, text); !errors.Is(err, ErrNotFound) {
			one.Entry, one.Err = entryOf(&seal.Opened{Header: h}, text), err
		}
		return false
	default:
		one.Entry = entryOf(&seal.Opened{Header: h}, text)
		one.Size += old.Size - len(text)
		if !due(one.Class, one.KeyID) {
			return false
		}
	}
	if !whole {
		one.Entry, one.Did, one.Bytes = Entry{}, Large, old.Size
		return false
	}
	one.Err = c.anew(b, plain, key, old.Value)
	return one.Err == nil
}

// anew opens a package and appends to b what was in it, sealed as it was.
func (c *Cache) anew(b, plain *buffer, key string, pkg []byte) error {
	o, err := c.sealer.OpenStored(plain.reserve(len(pkg)), pkg, c.place(key), envelope.OpenPolicy{Use: format.UseCache})
	if err != nil {
		return err
	}
	h := &o.Header
	sealed, err := c.sealer.Seal(b.bytes, seal.Request{
		Use: h.Use, Class: classify.Class(h.Class), Type: h.Type, Flags: h.Flags, Place: c.place(key), Context: o.Context(), Revision: h.Revision,
		EncryptedAt: h.EncryptedAt, MediaType: o.Details.MediaType, FileName: o.Details.FileName, LastModified: o.Details.LastModified,
	}, o.Value)
	if err == nil {
		b.bytes = sealed
	}
	return err
}
