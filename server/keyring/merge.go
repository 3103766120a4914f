package keyring

import (
	"bytes"
	"context"
	"iter"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
)

func now() int64 { return time.Now().UnixMilli() }

// merge merges two verified documents. One side may have put keys under a new root while the other changed them under
// the former one: merge moves such keys to the new root, with the later state. It returns errUnopenedRoots if it
// needs a root that is not open.
func (r *Keyring) merge(ctx context.Context, a, b *envelope.Document, opened roots) (*envelope.Document, error) {
	merged, err := envelope.Merge(a, b)
	if err != nil {
		return nil, err
	}
	e := &Edit{merged, r, opened}
	if err := e.moveStrandedKeys(ctx); err != nil {
		return nil, err
	}
	for _, d := range []*envelope.Document{a, b} {
		for s, later := range keysWithEarlierState(merged, d) {
			k := s.Key(later.ID)
			if err := e.moveKey(s, k, k.Root, later.State); err != nil {
				return nil, err
			}
		}
	}
	if equalDocuments(merged, a) || equalDocuments(merged, b) { // one contains the other, so its primaries take both into account
		return merged, nil
	}
	for i := range e.Keysets {
		s := &e.Keysets[i]
		for _, d := range []*envelope.Document{a, b} {
			if was := d.Keyset(s.Use, s.Class); was != nil && s.Key(s.Primary()).State != envelope.Enabled {
				_ = e.Promote(s.Use, s.Class, was.Primary()) // fails if that key may not seal either
			}
		}
	}
	if e.Sign(authenticator(opened, nil)) != nil {
		return nil, errUnopenedRoots
	}
	return merged, nil
}

// equalDocuments reports whether two documents are equal and all their records are signed.
func equalDocuments(a, b *envelope.Document) bool {
	one, err := a.Append(nil)
	if err != nil {
		return false
	}
	other, err := b.Append(nil)
	return err == nil && bytes.Equal(one, other)
}

// keysWithEarlierState yields the keys of a document that have an earlier state in the document that it was merged
// into, with their keyset there.
func keysWithEarlierState(merged, d *envelope.Document) iter.Seq2[*envelope.Keyset, *envelope.Key] {
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

// moveStrandedKeys moves keys and primaries whose root has no slot to a root of the same line and KEK that has one.
func (e *Edit) moveStrandedKeys(ctx context.Context) error {
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

// successor returns the root that replaced another one, or that root itself if it has a slot. If there is no such
// root, successor makes it.
func (e *Edit) successor(ctx context.Context, former envelope.Root) (next envelope.Root, err error) {
	kek, found := e.opened[former].kek, false
	if kek == nil {
		return next, errUnopenedRoots
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
