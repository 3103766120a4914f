package keyring

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal/secret"
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
	if err := r.settle(ctx, merged, opened, state); err != nil {
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
func (r *Keyring) settle(
	ctx context.Context, d *envelope.Document, opened roots, state func(envelope.Keyset, *envelope.Key) envelope.State,
) error {
	live := map[envelope.Root]bool{}
	for i := range d.Slots {
		live[d.Slots[i].Root] = true
	}
	for _, s := range d.Keysets {
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
			to, err := r.successor(ctx, d, opened, k.Root)
			if err != nil {
				return err
			}
			live[to] = true
			if err := moveKey(d, &s, k, opened, to, advanced); err != nil {
				return err
			}
		}
	}
	d.Settle()
	return d.Sign(authenticator(opened, nil))
}

// successor returns the root that replaced another one, or that root itself if it has a slot. It makes one if there is none.
func (r *Keyring) successor(ctx context.Context, d *envelope.Document, opened roots, former envelope.Root) (envelope.Root, error) {
	kek := opened[former].kek
	for i := range d.Slots {
		if root := d.Slots[i].Root; root == former {
			return root, nil
		}
	}
	for i := range d.Slots {
		if root := d.Slots[i].Root; root.Line == former.Line && opened[root].kek == kek {
			return root, nil
		}
	}
	return r.newRoot(ctx, d, opened, kek, former.Line, d.Generation(former.Line))
}

func (r *Keyring) newRoot(
	ctx context.Context, d *envelope.Document, opened roots, kek kms.KEK, line [envelope.LineSize]byte, generation uint32,
) (envelope.Root, error) {
	key := secret.New()
	root, err := r.addRootOf(ctx, d, opened, kek, key, envelope.Root{Line: line, Generation: generation, ID: key.ID()})
	if err != nil {
		return envelope.Root{}, err
	}
	return *root, nil
}

// moveKey wraps a key by another root. Its roots must be open.
func moveKey(d *envelope.Document, s *envelope.Keyset, k *envelope.Key, opened roots, to envelope.Root, state envelope.State) error {
	var wrapped []byte
	if state != envelope.Destroyed {
		binding := d.BindKey(s.Use, uint8(s.Class), k.ID)
		key, err := opened[k.Root].key.Unwrap(k.Wrapped, binding)
		if err != nil {
			return err
		}
		defer key.Clear()
		if wrapped, err = opened[to].key.Wrap(key, binding); err != nil {
			return err
		}
	}
	return d.MoveKey(s.Use, s.Class, k.ID, to, state, wrapped)
}

// ReplaceRoots makes a new root for each root of a tenant, wrapped by the same KEK, and puts all keys under it. Nothing opens
// the former roots any more, in this document and in what it is merged into. A root that leaked opens no key that is
// made afterwards. Keys that existed before can have leaked with it: rotate them as compromised. It returns the number of
// roots that it replaced, and the errors of Rotate.
func (r *Keyring) ReplaceRoots(ctx context.Context, tenant string) (replaced int, err error) {
	err = r.edit(ctx, tenant, func(d *envelope.Document, opened roots) error {
		former, made := d.Roots(), map[envelope.Root]envelope.Root{}
		byKEK := map[lineOfKEK]envelope.Root{}
		generations := map[[envelope.LineSize]byte]uint32{}
		for _, root := range former {
			generations[root.Line] = max(generations[root.Line], root.Generation)
		}
		for _, root := range former {
			at := lineOfKEK{root.Line, opened[root].kek}
			next, ok := byKEK[at]
			if !ok {
				var err error
				if next, err = r.newRoot(ctx, d, opened, at.kek, root.Line, generations[root.Line]+1); err != nil {
					return err
				}
				r.tenant(tenant).hold(next, opened[next])
				byKEK[at] = next
			}
			made[root] = next
		}
		replaced = len(former)
		for _, s := range d.Keysets {
			for i := range s.Keys {
				if err := moveKey(d, &s, &s.Keys[i], opened, made[s.Keys[i].Root], s.Keys[i].State); err != nil {
					return err
				}
			}
		}
		d.Settle()
		return nil
	})
	return replaced, err
}

type lineOfKEK struct {
	line [envelope.LineSize]byte
	kek  kms.KEK
}
