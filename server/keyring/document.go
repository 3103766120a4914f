package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// document reads and parses a tenant's file; fs.ErrNotExist where there is none.
func (d directory) document(tenant string) (*envelope.Document, fs.FileInfo, error) {
	content, info, err := d.read(tenant)
	if err != nil {
		return nil, nil, err
	}
	doc, err := envelope.ParseDocument(content)
	if err != nil {
		return nil, nil, unreadable(d.file(tenant), fmt.Errorf("damaged, restore it from a backup (%s)", err))
	}
	if doc.Owner != tenant {
		return nil, nil, unreadable(d.file(tenant), errors.New("it is another tenant's keyset"))
	}
	return doc, info, nil
}

func (d directory) writeDocument(doc *envelope.Document) error {
	content, err := doc.Append(nil)
	if err != nil {
		return err
	}
	return d.write(doc.Owner, content)
}

// load unlocks a tenant's file; fs.ErrNotExist where there is none.
func (r *Keyring) load(ctx context.Context, id string) (*Tenant, error) {
	d, info, err := r.store.document(id)
	if err != nil {
		return nil, err
	}
	path := r.store.file(id)
	if d.Environment != r.environment {
		return nil, fmt.Errorf("keyring: %s: it is of environment %q, this is %q: %w", path, d.Environment, r.environment, ErrEnvironment)
	}
	slot, err := kmsSlot(d, r.kek.URL())
	if err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", path, err)
	}
	root, err := unwrapRoot(ctx, r.kek, d, slot)
	switch {
	case errors.Is(err, envelope.ErrAuthentication):
		return nil, unreadable(path, errors.New("its root does not unwrap: the file was altered, or is another's"))
	case err != nil:
		return nil, fmt.Errorf("keyring: %s: unwrap the root: %w", path, err)
	}
	t := &Tenant{store: r.store, id: id, root: root}
	if err := t.adopt(d, info); err != nil {
		return nil, err
	}
	return t, nil
}

// kmsSlot finds the slot of a KEK. The URLs in a document are compared, never dialled.
func kmsSlot(d *envelope.Document, url string) (*envelope.Slot, error) {
	found := "none"
	for i := range d.Slots {
		s := &d.Slots[i]
		if s.Kind != envelope.SlotKMS || s.State != envelope.Enabled {
			continue
		}
		if s.URL == url {
			return s, nil
		}
		found = s.URL
	}
	return nil, fmt.Errorf("the keyset is wrapped by the KEK %q, not by the configured %q: %w", found, url, kms.ErrWrongKey)
}

// wrapRoot has the KEK wrap a root together with its binding: not every KMS authenticates additional data.
func wrapRoot(ctx context.Context, kek kms.KEK, d *envelope.Document, root *secret.Key) error {
	binding := d.BindRoot(root.ID())
	additional := binding.Append(nil)
	plain := root.Append(bytes.Clone(additional))
	defer clear(plain)
	wrapped, err := kek.Wrap(ctx, plain, additional)
	if err != nil {
		return fmt.Errorf("keyring: wrap a root: %w", err)
	}
	return d.AddSlot(envelope.Slot{
		ID: newSlotID(), Kind: envelope.SlotKMS, State: envelope.Enabled, CreatedAt: time.Now().UnixMilli(),
		RootID: root.ID(), URL: kek.URL(), Wrapped: wrapped,
	})
}

func unwrapRoot(ctx context.Context, kek kms.KEK, d *envelope.Document, s *envelope.Slot) (*secret.Key, error) {
	binding := d.BindRoot(s.RootID)
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
	root, err := secret.FromBytes(raw)
	if err != nil || root.ID() != s.RootID {
		return nil, envelope.ErrAuthentication
	}
	return root, nil
}

// create makes a tenant's root and writes its file, unless another process did so meanwhile; then that one's is loaded.
func (r *Keyring) create(ctx context.Context, id string) (*Tenant, error) {
	d := &envelope.Document{Environment: r.environment, Owner: id}
	root := secret.New()
	defer root.Clear()
	if err := wrapRoot(ctx, r.kek, d, root); err != nil {
		return nil, err
	}
	if err := r.writeNew(d); err != nil {
		return nil, err
	}
	return r.load(ctx, id)
}

func (r *Keyring) writeNew(d *envelope.Document) error {
	unlock, err := r.store.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, _, err := r.store.read(d.Owner); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return r.store.writeDocument(d)
}

func newSlotID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	return id
}
