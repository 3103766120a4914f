package kv

import (
	"context"
	"time"
)

// Entry is one write of SetMany.
type Entry struct {
	Key   string
	Value []byte
	TTL   time.Duration // 0 keeps the entry until it is deleted
}

// Swap is one step of SwapMany.
type Swap struct {
	Key        string
	Old, Value []byte
}

// Get returns the value of key. It reports false if the key is missing.
func Get(ctx context.Context, s Store, key string) (value []byte, ok bool, err error) {
	found, err := s.Read(ctx, []string{key}, NoLimit)
	if err != nil {
		return nil, false, err
	}
	return found[0].Value, found[0].Value != nil, nil
}

// GetMany returns one value for each key, in the order of keys: nil for a missing key, and only then.
func GetMany(ctx context.Context, s Store, keys []string) ([][]byte, error) {
	found, err := s.Read(ctx, keys, NoLimit)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(found))
	for i := range found {
		values[i] = found[i].Value
	}
	return values, nil
}

// Exists reports whether there is a key, without reading its value.
func Exists(ctx context.Context, s Store, key string) (bool, error) {
	_, ok, err := s.TTL(ctx, key)
	return ok, err
}

// Set writes value, and replaces an earlier value together with its TTL.
func Set(ctx context.Context, s Store, key string, value []byte, ttl time.Duration) error {
	_, err := s.Write(ctx, []Write{{Key: key, Value: value, TTL: ttl}})
	return err
}

// SetMany writes the entries in order, so that the last of several with one key stays. After a BatchError the
// entries without an error were written.
func SetMany(ctx context.Context, s Store, entries []Entry) error {
	writes := make([]Write, len(entries))
	for i := range entries {
		writes[i] = Write{Key: entries[i].Key, Value: entries[i].Value, TTL: entries[i].TTL}
	}
	_, err := s.Write(ctx, writes)
	return err
}

// Delete removes key and reports whether it existed. If a reply was lost and the key is missing afterwards, it
// reports true: no caller can know.
func Delete(ctx context.Context, s Store, key string) (existed bool, err error) {
	return one(ctx, s, Write{Key: key, Op: Remove})
}

// DeleteMany removes the keys in order and reports for each whether it existed: for a key that is named twice,
// the first time only. After a BatchError the keys without an error were removed.
func DeleteMany(ctx context.Context, s Store, keys []string) (existed []bool, err error) {
	writes := make([]Write, len(keys))
	for i, key := range keys {
		writes[i] = Write{Key: key, Op: Remove}
	}
	return applyWrites(ctx, s, writes)
}

// CompareAndSwap replaces the value of key if it equals old, and keeps the time that the key has left. The value
// must be unique to this call, as a sealed package is: see Apply.
func CompareAndSwap(ctx context.Context, s Store, key string, old, value []byte) (swapped bool, err error) {
	return one(ctx, s, Write{Key: key, If: Equals, Old: old, Value: value, KeepTTL: true})
}

// SwapMany is CompareAndSwap for each of the swaps, in order, and reports for each whether it was made.
func SwapMany(ctx context.Context, s Store, swaps []Swap) (swapped []bool, err error) {
	writes := make([]Write, len(swaps))
	for i, swap := range swaps {
		writes[i] = Write{Key: swap.Key, If: Equals, Old: swap.Old, Value: swap.Value, KeepTTL: true}
	}
	return applyWrites(ctx, s, writes)
}

// SetIf writes value with ttl if the value of key equals old or, if old is nil, if the key is missing. It reports
// false, and changes nothing, if that is not so. The value must be unique to this call: see Apply.
func SetIf(ctx context.Context, s Store, key string, old, value []byte, ttl time.Duration) (written bool, err error) {
	w := Write{Key: key, If: Equals, Old: old, Value: value, TTL: ttl}
	if old == nil {
		w.If = Absent
	}
	return one(ctx, s, w)
}

// DeleteIf removes key if its value equals old.
func DeleteIf(ctx context.Context, s Store, key string, old []byte) (deleted bool, err error) {
	return one(ctx, s, Write{Key: key, Op: Remove, If: Equals, Old: old})
}

// ExpireIf gives key the time ttl from now, 0 for no limit, if its value equals old.
func ExpireIf(ctx context.Context, s Store, key string, old []byte, ttl time.Duration) (changed bool, err error) {
	return one(ctx, s, Write{Key: key, Op: Expire, If: Equals, Old: old, TTL: ttl})
}

func one(ctx context.Context, s Store, w Write) (bool, error) {
	done, err := applyWrites(ctx, s, []Write{w})
	return err == nil && done[0], err
}

// Count returns the number of true values.
func CountTrue(existed []bool) (n int) {
	for _, was := range existed {
		if was {
			n++
		}
	}
	return n
}
