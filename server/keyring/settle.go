package keyring

import (
	"bytes"
	"context"
	"iter"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
)

func now() int64 { return time.Now().UnixMilli() }

// merge joins two verified documents, and settles what the join leaves: keys that one side put under a new root while the other side
// changed them under the former one. It returns errRoots if a root that it needs for that is not open.
func (r *Keyring) merge(ctx context.Context, a, b *envelope.Document, opened roots) (*envelope.Document, error) {
	merged, err := envelope.Merge(a, b)
	if err != nil {
		return nil, err
	}
	e := &Edit{merged, r, opened}
	if err := e.settle(ctx); err != nil {
		return nil, err
	}
	for _, d := range []*envelope.Document{a, b} {
		for s, later := range behind(merged, d) {
			k := s.Key(later.ID)
			if err := e.moveKey(s, k, k.Root, later.State); err != nil {
				return nil, err
			}
		}
	}
	if same(merged, a) || same(merged, b) { // one contains the other, and its primaries were chosen with both
		return merged, nil
	}
	for i := range e.Keysets {
		s := &e.Keysets[i]
		for _, d := range []*envelope.Document{a, b} {
			if was := d.Keyset(s.Use, s.Class); was != nil && s.Key(s.Primary()).State != envelope.Enabled {
				_ = e.Promote(s.Use, s.Class, was.Primary()) // which fails if that one must not seal either
			}
		}
	}
	if e.Sign(authenticator(opened, nil)) != nil {
		return nil, errRoots
	}
	return merged, nil
}

// same reports whether two documents are equal and have no record that is not signed yet.
func same(a, b *envelope.Document) bool {
	one, err := a.Append(nil)
	if err != nil {
		return false
	}
	other, err := b.Append(nil)
	return err == nil && bytes.Equal(one, other)
}

// behind yields the keys of a document that have a later state than in the document into which it was merged, with the keyset there.
func behind(merged, d *envelope.Document) iter.Seq2[*envelope.Keyset, *envelope.Key] {
	return func(yield func(*envelope.Keyset, *envelope.Key) bool) {
		for i := range d.Keysets {
			was := &d.Keysets[i]
			s := merged.Keyset(was.Use, was.Class)
			for j := range was.Keys {
				if s == nil {
					break
				}
				if k := s.Key(was.Keys[j].ID); k != nil && k.State < was.Keys[j].State && !yield(s, &was.Keys[j]) {
					return
				}
			}
		}
	}
}

// settle moves keys and primaries that are under a root without a slot to the root of the same KEK and line that has one.
func (e *Edit) settle(ctx context.Context) error {
	live := map[envelope.Root]bool{}
	for i := range e.Slots {
		live[e.Slots[i].Root] = true
	}
	for i := range e.Keysets {
		s := &e.Keysets[i]
		stale := map[[32]byte]bool{}
		for _, p := range s.Primaries {
			stale[p.KeyID] = !live[p.Root]
		}
		for j := range s.Keys {
			k := &s.Keys[j]
			if live[k.Root] && !stale[k.ID] {
				continue
			}
			to, err := e.successor(ctx, k.Root)
			if err != nil {
				return err
			}
			live[to] = true
			if err := e.moveKey(s, k, to, k.State); err != nil {
				return err
			}
		}
	}
	e.RemoveVoid()
	return nil
}

// successor returns the root that replaced another one, or that root itself if it has a slot. It makes one if there is none.
func (e *Edit) successor(ctx context.Context, former envelope.Root) (next envelope.Root, err error) {
	kek, found := e.opened[former].kek, false
	if kek == nil {
		return next, errRoots
	}
	for i := range e.Slots {
		root := e.Slots[i].Root
		if root == former {
			return root, nil
		}
		if !found && root.Line == former.Line && e.opened[root].kek == kek {
			next, found = root, true
		}
	}
	if found {
		return next, nil
	}
	return e.addRoot(ctx, kek, former.Line, e.Generation(former.Line))
}
