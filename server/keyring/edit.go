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

// Edit is a keyset document that is being changed. All of its roots are open, and its records were verified. An Edit
// is valid only during the call of the function that [Keyring.Edit] passes it to. Only operators' tools need it;
// programs use the methods of [Keyring] and [Tenant].
type Edit struct {
	*envelope.Document
	ring   *Keyring
	opened roots
}

// Edit changes the document of a tenant, or the system document if tenant is empty, in one compare-and-swap. It signs
// and writes what the function changed, and returns when the change is durable and this process uses it. The tenant
// need not be unlocked. Edit writes nothing if the function changed nothing or returned an error, which Edit returns.
//
// If another process changes the document concurrently, Edit calls the function again with the current document. The
// function must therefore depend on nothing but its argument; a key that other records name must be drawn before (see
// [Edit.AddKey]). Once Edit has started to write, it ignores the cancellation of ctx. It returns an error only if the
// document was not changed, or if that cannot be determined; see keystore.Replace.
//
// Edit returns ErrNoTenant if the document does not exist, envelope.ErrKeyDestroyed if the tenant was shredded,
// ErrUnreadable if a record was altered, and the errors of the KEKs.
func (r *Keyring) Edit(ctx context.Context, tenant string, change func(e *Edit) error) error {
	opened := r.tenant(tenant).openedRoots()
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

// openAll unwraps the roots of a document that are not open yet, and verifies its records.
func (r *Keyring) openAll(ctx context.Context, d *envelope.Document, known roots) (roots, error) {
	if len(known) > 0 && opensAllRoots(d, known) {
		return known, r.verify(ctx, d, known)
	}
	opened, err := r.unwrapRoots(ctx, d, known)
	skipped := err == nil && !opensAllRoots(d, opened) || errors.Is(err, kms.ErrWrongKey)
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

// change implements Edit. It calls edit again each time another process changes the document concurrently. edit gets
// an empty document if the owner never had one, and returns the roots that it opened or made.
func (r *Keyring) change(ctx context.Context, id string, edit func(d *envelope.Document, missing bool) (roots, error)) error {
	t := r.tenant(id)
	var lost error // error of a write that may have succeeded: the next iteration reads it back
	for {
		var opened roots
		var changed []byte
		d, old, err := r.read(ctx, id)
		if err == nil && d == nil {
			if err = t.writeBack(ctx); err == nil {
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
			if bytes.Equal(old, changed) { // nothing to change, or another process made the change
				t.adoptChange(ctx, opened)
				return nil
			}
			swapped, err = r.swap(ctx, d, old, changed) // reads the document back after an error
		}
		switch {
		case swapped && t.rememberIfLocked(old, changed):
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

// adoptChange makes this process use a change that it wrote under some roots, or found written. If the document
// cannot be read back, adoptChange drops the keys, so that former keys are not used any more.
func (t *Tenant) adoptChange(ctx context.Context, opened roots) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.ring.unlockTimeout)
	defer cancel()
	if t.reload(ctx, opened) != nil && !t.pinned() {
		t.lock()
	}
}

// rememberIfLocked remembers a document that this process wrote over another one while the tenant was locked, so that
// the document is written again if the store loses it. It reports whether it did. It does nothing if the tenant is
// unlocked, or keeps another document that the store lost.
func (t *Tenant) rememberIfLocked(old, content []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() != nil || t.keepContent && !bytes.Equal(t.lastContent, old) {
		return false
	}
	t.keepContent = true
	t.remember(content)
	return true
}

// openedRoots returns a copy of the roots in memory.
func (t *Tenant) openedRoots() roots {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.roots)
}

// AddKey makes a key the primary of a use and class, in a new epoch. The key is wrapped by the newest root of the
// class's KEK; AddKey makes that root if it does not exist. The caller keeps the key, and clears it.
func (e *Edit) AddKey(ctx context.Context, use format.Use, class classify.Class, key *secret.Key) error {
	if s := e.Keyset(use, class); s != nil && s.Key(key.ID()) != nil {
		return nil // an earlier write added it, and its reply was lost
	}
	kek := e.ring.keks.For(class)
	root := e.opened.newestRootOf(kek, e.Document)
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

// Advance moves a key to a later state: compromised, disabled or destroyed. It returns ErrInUse if a primary would be
// disabled or destroyed, and the errors of envelope.Document.Advance. Packages that are still sealed under a disabled
// or destroyed key do not open: the caller must exclude that.
func (e *Edit) Advance(use format.Use, class classify.Class, id format.KeyID, to envelope.State) error {
	if s := e.Keyset(use, class); s != nil && s.Primary() == id && (to == envelope.Disabled || to == envelope.Destroyed) {
		return ErrInUse
	}
	return e.Document.Advance(use, class, id, to)
}

// ReplaceRoots makes a new root in place of each root, and rewraps all keys by it. Afterwards nothing opens the
// former roots, in this document or in one that it is merged into, so a leaked root opens no key that is made later.
// Keys that existed before may have leaked with the root: rotate them as compromised.
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
	e.RemoveVoid() // removes the former slots
	return e.moveStrandedKeys(ctx)
}

// addRoot draws a root of a line and generation, wraps it by a KEK and adds it to the document.
func (e *Edit) addRoot(ctx context.Context, kek kms.KEK, line [envelope.LineSize]byte, generation uint32) (envelope.Root, error) {
	key := secret.New()
	root := envelope.Root{Line: line, Generation: generation, ID: key.ID()}
	slot, err := wrapRoot(ctx, kek, e.Document, root, key)
	e.ring.health.record(err)
	if err == nil {
		err = e.AddSlot(slot)
	}
	if err == nil {
		e.opened[root] = openRoot{key, kek}
	}
	return root, err
}

// moveKey rewraps a key by another root and sets its state.
func (e *Edit) moveKey(s *envelope.Keyset, k *envelope.Key, to envelope.Root, state envelope.State) error {
	var wrapped []byte
	if state != envelope.Destroyed {
		former, next := e.opened[k.Root].key, e.opened[to].key
		if former == nil || next == nil {
			return errUnopenedRoots
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
