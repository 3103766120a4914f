package keyring

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
)

func now() int64 { return time.Now().UnixMilli() }

// merge joins two verified documents, and settles what the join leaves: keys that one side put under a new root while the other side
// changed them under the former one. All roots must be open.
func (r *Keyring) merge(ctx context.Context, a, b *envelope.Document, opened roots) (*envelope.Document, error) {
	merged, err := envelope.Merge(a, b)
	if err != nil {
		return nil, err
	}
	e := &Edit{merged, r, opened}
	if err := e.settle(ctx); err != nil {
		return nil, err
	}
	for i := range e.Keysets {
		s := &e.Keysets[i]
		for _, d := range []*envelope.Document{a, b} {
			was := d.Keyset(s.Use, s.Class)
			if was == nil {
				continue
			}
			for _, k := range was.Keys {
				if merged := s.Key(k.ID); merged != nil && merged.State < k.State {
					if err := e.moveKey(s, merged, merged.Root, k.State); err != nil {
						return nil, err
					}
				}
			}
		}
		for _, d := range []*envelope.Document{a, b} {
			if was := d.Keyset(s.Use, s.Class); was != nil && s.Key(s.Primary()).State != envelope.Enabled {
				_ = e.Promote(s.Use, s.Class, was.Primary()) // which fails if that one must not seal either
			}
		}
	}
	return merged, e.Sign(authenticator(opened, nil))
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
	e.Settle()
	return nil
}

// successor returns the root that replaced another one, or that root itself if it has a slot. It makes one if there is none.
func (e *Edit) successor(ctx context.Context, former envelope.Root) (next envelope.Root, err error) {
	kek, found := e.opened[former].kek, false
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
