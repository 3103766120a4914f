package keyring

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
)

func now() int64 { return time.Now().UnixMilli() }

// merge joins two verified documents, and settles what the join leaves: a key that one side put under a new root while the
// other side changed it under the former one. Its roots must all be open.
func (r *Keyring) merge(ctx context.Context, a, b *envelope.Document, opened roots) (*envelope.Document, error) {
	merged, err := envelope.Merge(a, b)
	if err != nil {
		return nil, err
	}
	state := func(use envelope.Keyset, k *envelope.Key) envelope.State {
		latest := k.State
		for _, d := range []*envelope.Document{a, b} {
			if s := d.Keyset(use.Use, use.Class); s != nil && s.Key(k.ID) != nil {
				latest = max(latest, s.Key(k.ID).State)
			}
		}
		return latest
	}
	e := &Edit{merged, r, opened}
	if err := e.settle(ctx, state); err != nil {
		return nil, err
	}
	for i := range merged.Keysets {
		s := &merged.Keysets[i]
		for _, d := range []*envelope.Document{a, b} {
			if was := d.Keyset(s.Use, s.Class); was != nil && s.Key(s.Primary()).State != envelope.Enabled {
				_ = merged.Promote(s.Use, s.Class, was.Primary()) // which fails if that one must not seal either
			}
		}
	}
	return merged, merged.Sign(authenticator(opened, nil))
}

// settle moves keys and primaries that are under a root without a slot to the root of the same KEK and line that has one, and
// advances states.
func (e *Edit) settle(ctx context.Context, state func(envelope.Keyset, *envelope.Key) envelope.State) error {
	live := map[envelope.Root]bool{}
	for i := range e.Slots {
		live[e.Slots[i].Root] = true
	}
	for _, s := range e.Keysets {
		stale := map[[32]byte]bool{}
		for _, p := range s.Primaries {
			stale[p.KeyID] = !live[p.Root]
		}
		for i := range s.Keys {
			k := &s.Keys[i]
			advanced := state(s, k)
			if live[k.Root] && !stale[k.ID] && advanced == k.State {
				continue
			}
			to, err := e.successor(ctx, k.Root)
			if err != nil {
				return err
			}
			live[to] = true
			if err := e.moveKey(&s, k, to, advanced); err != nil {
				return err
			}
		}
	}
	e.Settle()
	return e.Sign(authenticator(e.opened, nil))
}

// successor returns the root that replaced another one, or that root itself if it has a slot. It makes one if there is none.
func (e *Edit) successor(ctx context.Context, former envelope.Root) (envelope.Root, error) {
	kek := e.opened[former].kek
	for i := range e.Slots {
		if root := e.Slots[i].Root; root == former {
			return root, nil
		}
	}
	for i := range e.Slots {
		if root := e.Slots[i].Root; root.Line == former.Line && e.opened[root].kek == kek {
			return root, nil
		}
	}
	return e.newRoot(ctx, kek, former.Line, e.Generation(former.Line))
}

// ReplaceRoots makes a new root for each root of a tenant, wrapped by the same KEK, and puts all keys under it. Nothing opens
// the former roots any more, in this document and in what it is merged into. A root that leaked opens no key that is
// made afterwards. Keys that existed before can have leaked with it: rotate them as compromised. It returns the number of
// roots that it replaced, and the errors of Rotate.
func (r *Keyring) ReplaceRoots(ctx context.Context, tenant string) (replaced int, err error) {
	err = r.Edit(ctx, tenant, func(e *Edit) error {
		replaced = len(e.Roots())
		return e.ReplaceRoots(ctx)
	})
	return replaced, err
}
