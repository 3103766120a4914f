package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// openRoot is a root in memory, with the KEK that unwrapped it.
type openRoot struct {
	key *secret.Key
	kek kms.KEK
}

// roots has the open roots of a document.
type roots map[envelope.Root]openRoot

// newestRootOf returns the newest root of a KEK, which wraps new keys, or nil if the KEK has no root.
func (all roots) newestRootOf(kek kms.KEK, d *envelope.Document) *envelope.Root {
	var newest *envelope.Slot
	for i := range d.Slots {
		s := &d.Slots[i]
		if one, ok := all[s.Root]; ok && one.kek == kek && (newest == nil || s.CreatedAt > newest.CreatedAt) {
			newest = s
		}
	}
	if newest == nil {
		return nil
	}
	return &newest.Root
}

// unwrapRoots unwraps all roots that the KEKs open, except those that are open already. It compares the URLs in the
// document with those of the KEKs, and contacts no other. It returns kms.ErrWrongKey if no KEK opens a root.
func (r *Keyring) unwrapRoots(ctx context.Context, d *envelope.Document, known roots) (roots, error) {
	opened, foreign := roots{}, "none"
	maps.Copy(opened, known)
	var failed error
	for _, kek := range r.keks.All() { // the configured KEKs come first, so that they own a root which a former KEK opens, too
		for i := range d.Slots {
			s := &d.Slots[i]
			foreign = s.URL
			if s.Kind != envelope.SlotKMS || opened[s.Root].key != nil || kek.URL() != s.URL {
				continue
			}
			key, err := unwrapRoot(ctx, kek, d, s)
			r.health.record(err)
			if err == nil {
				opened[s.Root] = openRoot{key, kek}
				r.provenKEKs.Store(kek, true)
			} else if !errors.Is(err, kms.ErrWrongKey) {
				failed = err
			}
		}
	}
	switch {
	case failed != nil && (len(opened) == 0 || !opensAllRoots(d, opened)):
		return nil, failed
	case len(opened) == 0 && !d.Shredded():
		return nil, fmt.Errorf("the keyset is wrapped by the KEK %q, not by the configured %q: %w", foreign, r.keks.All()[0].URL(), kms.ErrWrongKey)
	}
	return opened, nil
}

// slotAltered reports whether a slot was altered: it has the URL of a KEK that does not open it. The URL of a
// passphrase does not identify the passphrase, so it counts only if the passphrase has opened something before.
func (r *Keyring) slotAltered(d *envelope.Document, opened roots) bool {
	return slices.ContainsFunc(d.Slots, func(s envelope.Slot) bool {
		return s.Kind == envelope.SlotKMS && opened[s.Root].key == nil && slices.ContainsFunc(r.keks.All(), func(kek kms.KEK) bool {
			_, proven := r.provenKEKs.Load(kek)
			return kek.URL() == s.URL && (proven || s.URL != kms.PassphraseURL)
		})
	})
}

// opensAllRoots reports whether every root of the document is open, so that every record can be verified.
func opensAllRoots(d *envelope.Document, opened roots) bool {
	for _, root := range d.Roots() {
		if opened[root].key == nil {
			return false
		}
	}
	return true
}

// wrapRoot wraps a root by a KEK. The plaintext begins with the root's binding, because not every KMS authenticates
// additional data.
func wrapRoot(ctx context.Context, kek kms.KEK, d *envelope.Document, root envelope.Root, key *secret.Key) (envelope.Slot, error) {
	binding := d.RootBinding(root)
	additional := binding.Append(nil)
	plain := key.Append(bytes.Clone(additional))
	defer clear(plain)
	wrapped, err := kek.Wrap(ctx, plain, additional)
	if err != nil {
		return envelope.Slot{}, fmt.Errorf("keyring: wrap a root: %w", err)
	}
	return envelope.Slot{ID: random16(), Kind: envelope.SlotKMS, CreatedAt: now(), Root: root, URL: kek.URL(), Wrapped: wrapped}, nil
}

func unwrapRoot(ctx context.Context, kek kms.KEK, d *envelope.Document, s *envelope.Slot) (*secret.Key, error) {
	binding := d.RootBinding(s.Root)
	additional := binding.Append(nil)
	plain, err := kek.Unwrap(ctx, s.Wrapped, additional)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	raw, ok := bytes.CutPrefix(plain, additional)
	if !ok {
		return nil, envelope.ErrAuthentication
	}
	key, err := secret.FromBytes(raw)
	if err != nil || key.ID() != s.Root.ID {
		return nil, envelope.ErrAuthentication
	}
	return key, nil
}

// create creates the document of a tenant with a root under the general KEK, unless another process creates it first.
func (r *Keyring) create(ctx context.Context, id string) error {
	if err := r.CheckMissing(); err != nil { // this document may have vanished as well
		return err
	}
	return r.change(ctx, id, func(d *envelope.Document, missing bool) (roots, error) {
		if !missing {
			return nil, nil
		}
		e := &Edit{d, r, roots{}}
		if _, err := e.addRoot(ctx, r.keks.For(classify.Public), random16(), 1); err != nil {
			return nil, err
		}
		return e.opened, e.Sign(authenticator(e.opened, nil))
	})
}

// random16 draws the id of a slot or line.
func random16() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails: crypto/rand crashes the program instead
	return id
}
