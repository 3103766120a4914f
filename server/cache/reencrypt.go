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

// Outcome is the outcome of Reencrypt for one entry.
type Outcome uint8

// The outcomes. Only Reencrypted changes an entry.
const (
	Unchanged   Outcome = iota // it is not due, does not open, was deleted or has expired; an expired entry is deleted
	NotAPackage                // the stored value is not a package of a cache that encrypts
	Reencrypted                // the value is now encrypted under the primary key of its class
	Overwritten                // the entry was written by another call in the meantime
	TooLong                    // its package is longer than the limit; it may be due
)

// ReencryptResult is the result of Reencrypt for one entry.
type ReencryptResult struct {
	Entry      // as Inspect returns it for the former package; zero if the entry was missing or not read
	Outcome    Outcome
	StoredSize int   // size in bytes of the stored value, if it is TooLong
	Err        error // of seal.Sealer.OpenStored or Seal for the entry, which was not changed
}

// Due reports whether an entry is to be encrypted again, by its class and the id of its key.
type Due func(class classify.Class, id format.KeyID) bool

// Reencrypt encrypts the values under keys that are due again, under the primary keys of their classes. It replaces an
// entry only if no other call has written it in the meantime. An entry keeps its metadata, its date of encryption and
// its remaining time to live, but gets a new tag. Packages longer than limit bytes are not read.
//
// Reencrypt calls the store twice, and uses at most three times the size of the packages in memory. It returns an error
// only if the store fails: then entries with the outcome Reencrypted are, and the others may have been.
func (c *Cache) Reencrypt(ctx context.Context, keys []string, limit int, due Due) ([]ReencryptResult, error) {
	results := make([]ReencryptResult, len(keys))
	packages, err := c.store.Read(ctx, c.storeKeys(keys), limit)
	if err != nil {
		return results, err
	}
	sealed, plain := getBuffer(), getBuffer()
	defer sealed.put()
	defer plain.putCleared()
	var indices, ends []int // of the keys to replace; where their packages end in sealed
	for i, key := range keys {
		if c.reencryptIfDue(ctx, &results[i], sealed, plain, key, packages[i], due) {
			indices, ends = append(indices, i), append(ends, len(sealed.bytes))
		}
	}
	swaps, start := make([]kv.Swap, len(indices)), 0
	for j, i := range indices { // the buffer grew until now, and packages moved
		swaps[j] = kv.Swap{Key: c.prefix + keys[i], Old: packages[i].Value, Value: sealed.bytes[start:ends[j]:ends[j]]}
		start = ends[j]
	}
	swapped, err := kv.SwapMany(ctx, c.store, swaps)
	for j, done := range swapped {
		switch r := &results[indices[j]]; {
		case done:
			r.Outcome = Reencrypted
		case err == nil:
			r.Outcome = Overwritten
		}
	}
	return results, err
}

// reencryptIfDue appends the new package of an entry to sealed, and reports whether it did. It sets the result of the
// entry.
func (c *Cache) reencryptIfDue(ctx context.Context, r *ReencryptResult, sealed, plain *buffer, key string, old kv.ReadResult, due Due) bool {
	complete, begin := old.Value != nil, old.Value
	if !complete {
		begin = old.Prefix
	}
	if r.Err = c.checkKey(key); r.Err != nil || begin == nil {
		return false
	}
	h, n, err := format.ParseHeader(begin)
	if err == nil {
		err = format.CheckBody(&h, old.Size-n)
	}
	switch {
	case err != nil && !complete: // the header may be longer than the beginning that was read
	case err != nil, c.plain, h.Source != format.FromKeyset, h.Algorithm == format.Chunked, h.Use != format.UseCache:
		r.Outcome = NotAPackage
		return false
	case complete && c.isExpired(&h):
		if err := c.checkExpired(ctx, key, begin); !errors.Is(err, ErrNotFound) {
			r.Entry, r.Err = entryOf(&seal.Opened{Header: h}, begin), err
		}
		return false
	default:
		r.Entry = entryOf(&seal.Opened{Header: h}, begin)
		r.Size += old.Size - len(begin)
		if !due(r.Class, r.KeyID) {
			return false
		}
	}
	if !complete {
		r.Entry, r.Outcome, r.StoredSize = Entry{}, TooLong, old.Size
		return false
	}
	r.Err = c.reencrypt(ctx, sealed, plain, key, old.Value)
	return r.Err == nil
}

// reencrypt opens a package and appends a package with the same content to dst.
func (c *Cache) reencrypt(ctx context.Context, dst, plain *buffer, key string, pkg []byte) error {
	o, err := c.sealer.OpenStored(ctx, plain.reserve(len(pkg)), pkg, c.place(key), envelope.OpenPolicy{Use: format.UseCache})
	if err != nil {
		return err
	}
	h := &o.Header
	sealed, err := c.sealer.Seal(ctx, dst.bytes, seal.Request{
		Use: h.Use, Class: classify.Class(h.Class), Type: h.Type, Flags: h.Flags, Place: c.place(key), Context: o.Context(), Revision: h.Revision,
		EncryptedAt: h.EncryptedAt, MediaType: o.Details.MediaType, FileName: o.Details.FileName, LastModified: o.Details.LastModified,
	}, o.Value)
	if err == nil {
		dst.bytes = sealed
	}
	return err
}
