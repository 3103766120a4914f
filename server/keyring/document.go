package keyring

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// parse reads the document of an owner. It verifies no record.
func (r *Keyring) parse(owner string, content []byte) (*envelope.Document, error) {
	d, err := envelope.ParseDocument(content)
	switch {
	case err != nil:
		return nil, r.damaged(owner, content, err)
	case d.Owner != owner:
		return nil, r.altered(owner, content, "it is another tenant's keyset")
	case d.Environment != r.environment:
		return nil, r.noteUnopened(owner, content, fmt.Errorf("keyring: %s: it is of environment %q, this is %q: %w", r.where(owner), d.Environment, r.environment, ErrWrongEnvironment))
	}
	return d, nil
}

// parseShreds is parse, and verifies the shred records: a forged one must not make a tenant look shredded.
func (r *Keyring) parseShreds(ctx context.Context, document keystore.Document) (*envelope.Document, error) {
	if document.Err != nil {
		return nil, document.Err
	}
	d, err := r.parse(document.Name, document.Content)
	if err != nil {
		return nil, err
	}
	if err := r.verify(ctx, d, nil); err != nil {
		return nil, err
	}
	return d, nil
}

// read returns the document of an owner and its bytes, nil if it does not exist. Its shred records are verified, others are not.
func (r *Keyring) read(ctx context.Context, owner string) (*envelope.Document, []byte, error) {
	content, err := r.store.Get(ctx, keystore.Keysets, owner)
	if err != nil || content == nil {
		return nil, nil, err
	}
	d, err := r.parseShreds(ctx, keystore.Document{Name: owner, Content: content})
	if err != nil {
		return nil, nil, err
	}
	return d, content, nil
}

// Document returns a tenant's keyset document as it is now: wrapped keys, and what is known of them. It returns
// ErrNoTenant if it does not exist. It asks a KEK only to unlock the system document, if the tenant has shred records.
func (r *Keyring) Document(ctx context.Context, tenant string) (*envelope.Document, error) {
	if err := checkTenant(tenant); err != nil {
		return nil, err
	}
	return r.OwnerDocument(ctx, tenant)
}

// OwnerDocument is Document for any owner. The document of the empty owner is the system document.
func (r *Keyring) OwnerDocument(ctx context.Context, owner string) (*envelope.Document, error) {
	d, _, err := r.read(ctx, owner)
	if err == nil && d == nil {
		err = ErrNoTenant
	}
	return d, err
}

// DocumentsOf returns the keyset documents of tenants, by id. It leaves out those that are missing or cannot be read: Document
// returns the reason.
func (r *Keyring) DocumentsByID(ctx context.Context, ids []string) map[string]*envelope.Document {
	found := make(map[string]*envelope.Document, len(ids))
	for _, document := range keystore.GetMany(ctx, r.store, keystore.Keysets, ids) {
		if document.Content == nil || document.Name == systemID {
			continue
		}
		if d, err := r.parseShreds(ctx, document); err == nil {
			found[document.Name] = d
		}
	}
	return found
}

// Documents returns the keyset documents of all tenants. One that is damaged, or labelled with another environment, is an error, and
// others follow it.
func (r *Keyring) Documents(ctx context.Context) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		for document, err := range keystore.All(ctx, r.store, keystore.Keysets) {
			d, err := r.ofTenant(ctx, document, err)
			if (d != nil || err != nil) && !yield(d, err) {
				return
			}
		}
	}
}

// Page returns the keyset documents of the first tenants, at most limit, after a place that an earlier page returned, in an order
// that stays the same; and the place to go on from, empty after the last page. It reads no more documents than it returns.
func (r *Keyring) DocumentPage(ctx context.Context, after string, limit int) (page []*envelope.Document, next string, err error) {
	for {
		documents, next, err := r.store.Page(ctx, keystore.Keysets, after, limit-len(page))
		if err != nil {
			return nil, "", err
		}
		for _, document := range documents {
			d, err := r.ofTenant(ctx, document, nil)
			if err != nil {
				return nil, "", err
			}
			if d != nil {
				page = append(page, d)
			}
		}
		if len(page) == limit || next == "" {
			return page, next, nil
		}
		after = next
	}
}

// ofTenant reads a listed document. It returns nil for the system document.
func (r *Keyring) ofTenant(ctx context.Context, document keystore.Document, err error) (*envelope.Document, error) {
	if err != nil || document.Name == systemID && document.Err == nil {
		return nil, err
	}
	return r.parseShreds(ctx, document)
}

func (r *Keyring) where(owner string) string { return r.store.Location(keystore.Keysets, owner) }

// unreadable names the place and the reason.
func (r *Keyring) unreadable(owner string, reason error) error {
	return fmt.Errorf("keyring: %s: %w: %s", r.where(owner), ErrUnreadable, reason)
}

// damaged notes that an owner's document does not open, for a reason of package envelope, and returns the error.
func (r *Keyring) damaged(owner string, content []byte, reason error) error {
	if errors.Is(reason, envelope.ErrUnsupportedVersion) {
		return r.noteUnopened(owner, content, fmt.Errorf("keyring: %s: a later Coffer wrote it: update this one: %w", r.where(owner), reason))
	}
	return r.altered(owner, content, fmt.Sprintf("restore it from a backup (%s)", reason))
}

func (r *Keyring) altered(owner string, content []byte, reason string) error {
	return r.noteUnopened(owner, content, fmt.Errorf("keyring: %s: %w: %s", r.where(owner), ErrAltered, reason))
}

// encoded returns the bytes that a document was read from: parsing and encoding are inverse.
func encoded(d *envelope.Document) []byte {
	content, _ := d.Append(nil) // never fails for a document that was parsed
	return content
}
