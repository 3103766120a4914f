package kv

import (
	"context"
	"time"
)

// Entry is an entry for SetMany to write.
type Entry struct {
	Key   string
	Value []byte
	TTL   time.Duration // 0 means that the entry does not expire
}

// Swap is a compare-and-swap for SwapMany to make.
type Swap struct {
	Key        string
	Old, Value []byte
}

// Get returns the value of a key. It returns false if the key is missing.
func Get(ctx context.Context, s Store, key string) (value []byte, ok bool, err error) {
	found, err := s.Read(ctx, []string{key}, NoLimit)
	if err != nil {
		return nil, false, err
	}
	return found[0].Value, found[0].Value != nil, nil
}

// GetMany returns one value for each key, in the order of the keys. A value is nil if and only if its key is missing.
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

// Exists reports whether a key exists, without reading its value.
func Exists(ctx context.Context, s Store, key string) (bool, error) {
	_, ok, err := s.TTL(ctx, key)
	return ok, err
}

// Set writes a value and its TTL, and replaces any earlier ones. A TTL of 0 means that the entry does not expire.
func Set(ctx context.Context, s Store, key string, value []byte, ttl time.Duration) error {
	_, err := s.Write(ctx, []Write{{Key: key, Value: value, TTL: ttl}})
	return err
}

// SetMany writes the entries in order, so the last entry with a key wins. If it returns a BatchError, the entries
// without an error were written.
func SetMany(ctx context.Context, s Store, entries []Entry) error {
	writes := make([]Write, len(entries))
	for i := range entries {
		writes[i] = Write{Key: entries[i].Key, Value: entries[i].Value, TTL: entries[i].TTL}
	}
	_, err := s.Write(ctx, writes)
	return err
}

// Delete removes a key and reports whether it existed. If a reply was lost and the key is missing afterwards, it
// returns true, although another client may have removed the key.
func Delete(ctx context.Context, s Store, key string) (existed bool, err error) {
	return applyOne(ctx, s, Write{Key: key, Op: Remove})
}

// DeleteMany removes the keys in order and reports for each whether it existed. For a key that is listed twice, it
// reports true only the first time. If it returns a BatchError, the keys without an error were removed.
func DeleteMany(ctx context.Context, s Store, keys []string) (existed []bool, err error) {
	writes := make([]Write, len(keys))
	for i, key := range keys {
		writes[i] = Write{Key: key, Op: Remove}
	}
	return applyWrites(ctx, s, writes)
}

// CompareAndSwap replaces the value of a key if it equals old, and keeps the remaining time of the entry. It reports
// whether it did. The value must be unique to this call; see the package comment.
func CompareAndSwap(ctx context.Context, s Store, key string, old, value []byte) (swapped bool, err error) {
	return applyOne(ctx, s, Write{Key: key, If: Equals, Old: old, Value: value, KeepTTL: true})
}

// SwapMany makes several compare-and-swaps in order, and reports for each whether the value was replaced. See
// CompareAndSwap.
func SwapMany(ctx context.Context, s Store, swaps []Swap) (swapped []bool, err error) {
	writes := make([]Write, len(swaps))
	for i, swap := range swaps {
		writes[i] = Write{Key: swap.Key, If: Equals, Old: swap.Old, Value: swap.Value, KeepTTL: true}
	}
	return applyWrites(ctx, s, writes)
}

// SetIf writes a value and its TTL if the value of the key equals old or, if old is nil, if the key is missing.
// Otherwise it returns false and changes nothing. The value must be unique to this call; see the package comment.
func SetIf(ctx context.Context, s Store, key string, old, value []byte, ttl time.Duration) (written bool, err error) {
	w := Write{Key: key, If: Equals, Old: old, Value: value, TTL: ttl}
	if old == nil {
		w.If = Absent
	}
	return applyOne(ctx, s, w)
}

// DeleteIf removes a key if its value equals old, and reports whether it did.
func DeleteIf(ctx context.Context, s Store, key string, old []byte) (deleted bool, err error) {
	return applyOne(ctx, s, Write{Key: key, Op: Remove, If: Equals, Old: old})
}

// ExpireIf sets the TTL of a key, counted from now, if its value equals old, and reports whether it did. A TTL of 0
// means that the entry does not expire.
func ExpireIf(ctx context.Context, s Store, key string, old []byte, ttl time.Duration) (changed bool, err error) {
	return applyOne(ctx, s, Write{Key: key, Op: Expire, If: Equals, Old: old, TTL: ttl})
}

func applyOne(ctx context.Context, s Store, w Write) (bool, error) {
	done, err := applyWrites(ctx, s, []Write{w})
	return err == nil && done[0], err
}

// CountTrue returns the number of true values, for example of the keys that DeleteMany removed.
func CountTrue(values []bool) (n int) {
	for _, value := range values {
		if value {
			n++
		}
	}
	return n
}
