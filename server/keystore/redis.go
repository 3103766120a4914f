package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/kv"
)

// overKV is a Store in a kv.Store.
type overKV struct {
	store kv.Store
	index index
}

var _ Store = (*overKV)(nil)

// OverKV keeps documents in a kv.Store that several hosts share, such as a Redis. It is as durable as that
// store is: a Redis that is to keep keysets needs appendonly yes and appendfsync always, and must not evict
// (maxmemory-policy noeviction).
func OverKV(store kv.Store) Store { return &overKV{store: store} }

const kvPrefix = "coffer-keys/"

// Where implements Store.
func (o *overKV) Where(kind Kind, name string) string { return kvPrefix + string(kind) + "/" + name }

// generation is the key whose value every change replaces.
func (o *overKV) generation(kind Kind) string { return kvPrefix + "generation/" + string(kind) }

// Get implements Store.
func (o *overKV) Get(ctx context.Context, kind Kind, name string) ([]byte, error) {
	content, ok, err := o.store.Get(ctx, o.Where(kind, name))
	if err != nil {
		return nil, o.failed(kind, name, err)
	}
	if !ok {
		return nil, nil
	}
	return content, nil
}

// Swap implements Store. Who is killed between the change and its announcement leaves one that others see
// when they look for themselves.
func (o *overKV) Swap(ctx context.Context, kind Kind, name string, old, document []byte) (swapped bool, err error) {
	key := o.Where(kind, name)
	switch {
	case len(document) > MaxDocument:
		return false, o.failed(kind, name, errors.New("the document is too large"))
	case document != nil:
		if swapped, err = o.store.SetIf(ctx, key, old, document, 0); err == nil && !swapped {
			now, _, e := o.store.Get(ctx, key) // a retried call whose first attempt arrived reports false
			swapped, err = bytes.Equal(now, document), e
		}
	case old != nil:
		swapped, err = o.store.DeleteIf(ctx, key, old)
	default:
		there, err := o.store.Exists(ctx, key)
		return !there, err
	}
	if err == nil && swapped {
		err = o.store.Set(ctx, o.generation(kind), []byte(rand.Text()), 0)
	}
	if err != nil {
		return false, o.failed(kind, name, err)
	}
	return swapped, nil
}

// All implements Store.
func (o *overKV) All(ctx context.Context, kind Kind) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for cursor := ""; ; {
			keys, next, err := o.store.Scan(ctx, o.Where(kind, ""), cursor, 0)
			var contents [][]byte
			if err == nil {
				contents, err = o.store.GetMany(ctx, keys)
			}
			if err != nil {
				yield(nil, o.failed(kind, "", err))
				return
			}
			for _, content := range contents {
				if content != nil && !yield(content, nil) {
					return
				}
			}
			if cursor = next; cursor == "" {
				return
			}
		}
	}
}

// Page implements Store, in the order of names.
func (o *overKV) Page(ctx context.Context, kind Kind, after string, limit int) (documents [][]byte, next string, err error) {
	place := ""
	if after != "" {
		place = o.Where(kind, after)
	}
	keys, err := o.index.after(ctx, o, kind, place, func() ([]string, error) { return o.keys(ctx, kind) })
	if err != nil {
		return nil, "", err
	}
	if len(keys) > limit {
		keys = keys[:limit]
		next = strings.TrimPrefix(keys[limit-1], o.Where(kind, ""))
	}
	if documents, err = o.store.GetMany(ctx, keys); err != nil {
		return nil, "", o.failed(kind, "", err)
	}
	return slices.DeleteFunc(documents, func(content []byte) bool { return content == nil }), next, nil
}

// keys gives the keys of all documents of a kind.
func (o *overKV) keys(ctx context.Context, kind Kind) (all []string, err error) {
	for cursor := ""; ; {
		keys, next, err := o.store.Scan(ctx, o.Where(kind, ""), cursor, 0)
		if err != nil {
			return nil, o.failed(kind, "", err)
		}
		all = append(all, keys...)
		if cursor = next; cursor == "" {
			return all, nil
		}
	}
}

// Generation implements Store.
func (o *overKV) Generation(ctx context.Context, kind Kind) (string, error) {
	value, _, err := o.store.Get(ctx, o.generation(kind))
	if err != nil {
		return "", o.failed(kind, "", err)
	}
	return string(value), nil
}

func (o *overKV) failed(kind Kind, name string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("keystore: %s: %w: %w", o.Where(kind, name), ErrUnavailable, err)
}
