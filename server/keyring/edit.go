package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Edit is a keyset document that is being changed, with all of its roots open. Its records were verified. An Edit is valid
// only during the call of the function that Keyring.Edit passes it to.
type Edit struct {
	*envelope.Document
	ring   *Keyring
	opened roots
}

// Edit changes the document of a tenant, or the system document if the tenant is "", in one compare-and-swap. The tenant need not
// be unlocked. Edit signs and writes what change has changed, and returns when that is durable and this process works with it. It
// writes nothing if nothing was changed, or if change returns an error, which Edit returns.
//
// If another process changed the document in the meantime, change is called again with the current document. So change must
// depend on nothing but its Edit, and keys that other records name are drawn before; see AddKey. After Edit has begun to write it
// ignores the cancellation of ctx. It fails only if the document was not changed, or if that cannot be found out; see
// keystore.Replace.
//
// It returns ErrNoTenant if there is no document, envelope.ErrKeyDestroyed if the tenant was shredded, ErrUnreadable if a record
// was altered, and the errors of the KEKs.
func (r *Keyring) Edit(ctx context.Context, tenant string, change func(e *Edit) error) error {
	opened := r.tenant(tenant).held()
	return r.change(ctx, tenant, func(d *envelope.Document, missing bool) (roots, error) {
		if missing {
			return nil, ErrNoTenant
		}
		if d.Shredded() {
			return nil, envelope.ErrKeyDestroyed
		}
		var err error
		if opened, err = r.openAll(ctx, d, opened); err != nil {
			return nil, err
		}
		if err := change(&Edit{d, r, opened}); err != nil {
			return nil, err
		}
		return opened, d.Sign(authenticator(opened, nil))
	})
}

// openAll opens the roots of a document that are not open yet, and verifies its records.
func (r *Keyring) openAll(ctx context.Context, d *envelope.Document, known roots) (roots, error) {
	if len(known) > 0 && covers(d, known) {
		return known, r.verify(ctx, d, known)
	}
	opened, err := r.unwrapRoots(ctx, d, known)
	skipped := err == nil && !covers(d, opened) || errors.Is(err, kms.ErrWrongKey)
	switch {
	case errors.Is(err, envelope.ErrAuthentication), errors.Is(err, classify.ErrIterations), skipped && r.slotAltered(d, opened):
		return nil, r.rejectDamaged(d.Owner, encoded(d), envelope.ErrAuthentication)
	case errors.Is(err, kms.ErrWrongKey):
		return nil, r.reject(d.Owner, encoded(d), fmt.Errorf("keyring: %s: %w: %w", r.location(d.Owner), ErrUnknownKEK, err))
	case err != nil:
		return nil, fmt.Errorf("keyring: %s: %w", r.location(d.Owner), err)
	}
	return opened, r.verify(ctx, d, opened)
}

// change edits a document, again for as long as another process's change comes in between; see Edit. edit gets an empty document if
// the owner never had one, and returns the roots that it opened or made.
func (r *Keyring) change(ctx context.Context, id string, edit func(d *envelope.Document, missing bool) (roots, error)) error {
	t := r.tenant(id)
	var lost error // of a write that may have been made: the next round sees it
	for {
		var opened roots
		var changed []byte
		d, old, err := r.read(ctx, id)
		if err == nil && d == nil {
			if err = t.restore(ctx); err == nil {
				continue
			}
			if errors.Is(err, ErrNoTenant) {
				d, err = &envelope.Document{Environment: r.environment, Owner: id}, nil
			}
		}
		if err == nil {
			opened, err = edit(d, old == nil)
		}
		if err == nil {
			changed, err = d.Append(nil)
		}
		swapped := false
		if err == nil {
			if bytes.Equal(old, changed) { // another process may have made the change
				t.adoptChange(ctx, opened)
				return nil
			}
			swapped, err = r.swap(ctx, d, old, changed) // reads back after an error
		}
		switch {
		case swapped && t.sawLocked(old, changed):
			return nil
		case swapped:
			t.adoptChange(ctx, opened)
			return nil
		case errors.Is(err, durable.ErrUnknownOutcome) && lost == nil:
			lost = err
		case err != nil && lost != nil:
			return errors.Join(err, lost)
		case err != nil:
			return err
		}
	}
}

// adoptChange has this process work with a change that it made under some roots, or found made. If the document cannot be read back,
// the keys are dropped: the next use reads it, and the former ones are used no more.
func (t *Tenant) adoptChange(ctx context.Context, opened roots) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.ring.unlockTimeout)
	defer cancel()
	if t.reload(ctx, opened) != nil && !t.pinned() {
		t.lock()
	}
}

// sawLocked remembers a document that this process wrote in the place of another one if the tenant is locked, so that it is written
// again if the store loses it. It reports whether it does. It does not if the tenant keeps a document that the store lacked.
func (t *Tenant) sawLocked(old, content []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() != nil || t.keep && !bytes.Equal(t.content, old) {
		return false
	}
	t.keep = true
	t.saw(content)
	return true
}

// held returns the roots that are in memory.
func (t *Tenant) held() roots {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.roots)
}

// AddKey makes a key the primary of a use and class, in a new epoch. It goes under the newest root of the class's KEK, which is
// made if there is none. The key stays the caller's.
func (e *Edit) AddKey(ctx context.Context, use format.Use, class classify.Class, key *secret.Key) error {
	if s := e.Keyset(use, class); s != nil && s.Key(key.ID()) != nil {
		return nil // by a write whose reply was lost
	}
	kek := e.ring.keks.For(class)
	root := e.opened.under(kek, e.Document)
	if root == nil {
		next := e.NextRoot(format.KeyID{}, random16())
		made, err := e.addRoot(ctx, kek, next.Line, next.Generation)
		if err != nil {
			return err
		}
		root = &made
	}
	return addKey(e.Document, *root, e.opened[*root].key, key, use, class)
}

// newKey draws a key and makes it the primary of a use and class.
func (e *Edit) newKey(ctx context.Context, use format.Use, class classify.Class) (format.KeyID, error) {
	key := secret.New()
	defer key.Clear()
	return key.ID(), e.AddKey(ctx, use, class, key)
}

func addKey(d *envelope.Document, root envelope.Root, key, dek *secret.Key, use format.Use, class classify.Class) error {
	id := dek.ID()
	wrapped, err := key.Wrap(dek, d.KeyBinding(use, uint8(class), id))
	if err != nil {
		return err
	}
	return d.AddKey(use, class, envelope.Key{ID: id, State: envelope.Enabled, CreatedAt: now(), Root: root, Wrapped: wrapped})
}

// Advance moves a key on to a later state: compromised, disabled or destroyed. It returns ErrInUse for a primary that would be
// disabled or destroyed, and the errors of envelope's Advance. The caller decides whether anything is still sealed under the key.
func (e *Edit) Advance(use format.Use, class classify.Class, id format.KeyID, to envelope.State) error {
	if s := e.Keyset(use, class); s != nil && s.Primary() == id && (to == envelope.Disabled || to == envelope.Destroyed) {
		return ErrInUse
	}
	return e.Document.Advance(use, class, id, to)
}

// ReplaceRoots makes a new root for the roots of each KEK and puts all keys under it. Nothing opens the former roots any more, in
// this document and in those that it is merged into. So a root that leaked opens no key that is made afterwards. Keys that existed
// before may have leaked with it: rotate them as compromised.
func (e *Edit) ReplaceRoots(ctx context.Context) error {
	former := e.Roots()
	next := map[[envelope.LineSize]byte]uint32{}
	for _, root := range former {
		next[root.Line] = e.Generation(root.Line) + 1
	}
	for _, root := range former {
		kek := e.opened[root].kek
		made := slices.ContainsFunc(e.Slots, func(s envelope.Slot) bool {
			return s.Root.Line == root.Line && s.Root.Generation == next[root.Line] && e.opened[s.Root].kek == kek
		})
		if made {
			continue
		}
		if _, err := e.addRoot(ctx, kek, root.Line, next[root.Line]); err != nil {
			return err
		}
	}
	e.RemoveVoid() // removes the former slots, so that settle moves the keys
	return e.settle(ctx)
}

// addRoot draws a root of a line and generation and adds it to the document, wrapped by a KEK.
func (e *Edit) addRoot(ctx context.Context, kek kms.KEK, line [envelope.LineSize]byte, generation uint32) (envelope.Root, error) {
	key := secret.New()
	root := envelope.Root{Line: line, Generation: generation, ID: key.ID()}
	slot, err := wrapRoot(ctx, kek, e.Document, root, key)
	e.ring.health.note(err)
	if err == nil {
		err = e.AddSlot(slot)
	}
	if err == nil {
		e.opened[root] = openRoot{key, kek}
	}
	return root, err
}

// moveKey wraps a key by another root, and moves it to a state.
func (e *Edit) moveKey(s *envelope.Keyset, k *envelope.Key, to envelope.Root, state envelope.State) error {
	var wrapped []byte
	if state != envelope.Destroyed {
		former, next := e.opened[k.Root].key, e.opened[to].key
		if former == nil || next == nil {
			return errRoots
		}
		binding := e.KeyBinding(s.Use, uint8(s.Class), k.ID)
		key, err := former.Unwrap(k.Wrapped, binding)
		if err != nil {
			return err
		}
		defer key.Clear()
		if wrapped, err = next.Wrap(key, binding); err != nil {
			return err
		}
	}
	return e.MoveKey(s.Use, s.Class, k.ID, to, state, wrapped)
}
