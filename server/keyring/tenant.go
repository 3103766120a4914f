package keyring

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/server/seal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Tenant is one tenant's unlocked keys. It is a seal.Keys that makes the key of a use and class when it is first asked for, and
// is safe for concurrent use.
type Tenant struct {
	store directory
	id    string
	root  *secret.Key // kept to wrap new keys; the keys beneath it are in memory anyway
	vault atomic.Pointer[Vault]
	mu    sync.Mutex  // held while the file is read or changed
	read  fs.FileInfo // the file that vault came from
}

// Owner is the tenant's id.
func (t *Tenant) Owner() string { return t.id }

// Primary names the key that seals for a use and class. Where there is none yet, one is made and is on the disk before this
// returns. It returns envelope.ErrKeyUnusable where the primary may not seal, and ErrUnreadable.
func (t *Tenant) Primary(use format.Use, class classify.Class) (format.KeyID, error) {
	v := t.vault.Load()
	id, err := v.Primary(use, class)
	if err == nil || !v.lacks(use, class) {
		return id, err
	}
	if err := t.add([]format.Use{use}, []classify.Class{class}); err != nil {
		return format.KeyID{}, err
	}
	return t.vault.Load().Primary(use, class)
}

// CheckOpen decides whether a package may be opened; see envelope.Index.CheckOpen. An unknown key may be another process's, so the
// file is looked at again if it has changed.
func (t *Tenant) CheckOpen(h *format.Header, want envelope.Demand) error {
	err := t.vault.Load().CheckOpen(h, want)
	if err != envelope.ErrUnknownKey || h.Source != format.FromKeyset {
		return err
	}
	if err := t.refresh(); err != nil {
		return err
	}
	return t.vault.Load().CheckOpen(h, want)
}

// MessageCipher is the cipher of a key's packages under one salt; envelope.ErrUnknownKey where there is no such key.
func (t *Tenant) MessageCipher(id format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	return t.vault.Load().MessageCipher(id, salt)
}

// refresh reads the file again if it is another than the one read last.
func (t *Tenant) refresh() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.store.changed(t.id, t.read) {
		return nil
	}
	return t.reload()
}

// reload reads and unlocks the file. The caller holds t.mu.
func (t *Tenant) reload() error {
	d, info, err := t.current()
	if err != nil {
		return err
	}
	return t.adopt(d, info)
}

// current reads the file, which was there before.
func (t *Tenant) current() (*envelope.Document, fs.FileInfo, error) {
	d, info, err := t.store.document(t.id)
	if errors.Is(err, fs.ErrNotExist) {
		err = unreadable(t.store.file(t.id), err)
	}
	return d, info, err
}

// adopt unlocks a document and makes it the current one.
func (t *Tenant) adopt(d *envelope.Document, info fs.FileInfo) error {
	v, err := unlockVault(d, map[format.KeyID]*secret.Key{t.root.ID(): t.root})
	if err == nil && !v.complete() {
		err = envelope.ErrUnknownKey
	}
	if err != nil {
		return unreadable(t.store.file(t.id), fmt.Errorf("damaged, restore it from a backup (%w)", err))
	}
	t.read = info
	t.vault.Store(v)
	return nil
}

// add makes those keys of the uses and classes that the file, as it is now, has no keyset for.
func (t *Tenant) add(uses []format.Use, classes []classify.Class) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	unlock, err := t.store.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := t.reload(); err != nil { // what does not unlock is not added to
		return err
	}
	d, _, err := t.current()
	if err != nil {
		return err
	}
	grown, err := addKeys(d, t.root, uses, classes)
	if err != nil || !grown {
		return err
	}
	if err := t.store.writeDocument(d); err != nil {
		return err
	}
	return t.reload()
}

// addKeys adds a new key to a document for each use and class that it has no keyset for, and says whether there was any.
func addKeys(d *envelope.Document, root *secret.Key, uses []format.Use, classes []classify.Class) (grown bool, err error) {
	for _, use := range uses {
		for _, class := range classes {
			if d.Keyset(use, class) != nil {
				continue
			}
			dek := secret.New()
			defer dek.Clear()
			if err := addKey(d, root, dek, use, class); err != nil {
				return false, err
			}
			grown = true
		}
	}
	return grown, nil
}

func addKey(d *envelope.Document, root, dek *secret.Key, use format.Use, class classify.Class) error {
	id := dek.ID()
	wrapped, err := root.Wrap(dek, d.BindKey(use, uint8(class), id))
	if err != nil {
		return err
	}
	return d.AddKey(use, class, envelope.Key{
		ID: id, State: envelope.Enabled, CreatedAt: time.Now().UnixMilli(), RootID: root.ID(), Wrapped: wrapped,
	})
}
