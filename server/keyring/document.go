package keyring

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// parse reads a tenant's document.
func (r *Keyring) parse(id string, content []byte) (*envelope.Document, error) {
	d, err := envelope.ParseDocument(content)
	if err != nil {
		return nil, r.damaged(id, err)
	}
	if d.Owner != id {
		return nil, r.unreadable(id, errors.New("it is another tenant's keyset"))
	}
	if d.Environment != r.environment {
		return nil, fmt.Errorf("keyring: %s: it is of environment %q, this is %q: %w", r.where(id), d.Environment, r.environment, ErrEnvironment)
	}
	return d, nil
}

// read gives a tenant's document and its bytes; neither where there is none. Its shred records are verified, so that nobody
// takes it for shredded because of a forged one; the other records are not.
func (r *Keyring) read(ctx context.Context, id string) (*envelope.Document, []byte, error) {
	content, err := r.store.Get(ctx, keystore.Keysets, id)
	if err != nil || content == nil {
		return nil, nil, err
	}
	d, err := r.parse(id, content)
	if err == nil {
		err = r.verifyShreds(ctx, d)
	}
	if err != nil {
		return nil, nil, err
	}
	return d, content, nil
}

// Document gives a tenant's keyset document as it is now: wrapped keys, and what is known of them. It returns
// ErrNoTenant if it does not exist. It asks a KEK only to unlock the system document, if the tenant has shred records.
func (r *Keyring) Document(ctx context.Context, id string) (*envelope.Document, error) {
	if err := checkTenant(id); err != nil {
		return nil, err
	}
	return r.OwnerDocument(ctx, id)
}

// OwnerDocument is Document for any owner, the empty one too: its document is the system document.
func (r *Keyring) OwnerDocument(ctx context.Context, owner string) (*envelope.Document, error) {
	d, _, err := r.read(ctx, owner)
	if err == nil && d == nil {
		err = ErrNoTenant
	}
	return d, err
}

// DocumentsOf returns the keyset documents of tenants, by id. It leaves out those that are missing or cannot be read: Document
// returns the reason.
func (r *Keyring) DocumentsOf(ctx context.Context, ids []string) map[string]*envelope.Document {
	found := make(map[string]*envelope.Document, len(ids))
	for _, document := range keystore.GetMany(ctx, r.store, keystore.Keysets, ids) {
		if document.Err != nil || document.Content == nil || checkTenant(document.Name) != nil {
			continue
		}
		if d, err := r.parse(document.Name, document.Content); err == nil {
			found[document.Name] = d
		}
	}
	return found
}

// Documents gives the keyset documents of all tenants of this environment.
func (r *Keyring) Documents(ctx context.Context) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		for document, err := range keystore.All(ctx, r.store, keystore.Keysets) {
			var d *envelope.Document
			if err == nil {
				d, err = r.parseAny(ctx, document)
			}
			if err == nil && (d == nil || d.Owner == systemID) {
				continue
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// Page gives the keyset documents of the first tenants of this environment, limit at most, after a place that
// an earlier page gave, in an order that stays the same; and the place to go on from, empty where there are
// no more. It reads no more documents than it gives, but for those of other environments.
func (r *Keyring) Page(ctx context.Context, after string, limit int) (page []*envelope.Document, next string, err error) {
	for {
		documents, next, err := r.store.Page(ctx, keystore.Keysets, after, limit-len(page))
		if err != nil {
			return nil, "", err
		}
		for _, document := range documents {
			d, err := r.parseAny(ctx, document)
			if err != nil {
				return nil, "", err
			}
			if d != nil && d.Owner != systemID {
				page = append(page, d)
			}
		}
		if len(page) == limit || next == "" {
			return page, next, nil
		}
		after = next
	}
}

// parseAny reads the document of whatever tenant; nil where it is of another environment.
func (r *Keyring) parseAny(ctx context.Context, document keystore.Document) (*envelope.Document, error) {
	if document.Err != nil {
		return nil, document.Err
	}
	d, err := envelope.ParseDocument(document.Content)
	if err != nil {
		return nil, r.damaged(document.Name, err)
	}
	if d.Environment != r.environment {
		return nil, nil
	}
	if err := r.verifyShreds(ctx, d); err != nil {
		return nil, err
	}
	return d, nil
}

func (r *Keyring) where(id string) string { return r.store.Where(keystore.Keysets, id) }

// unreadable names the place and the reason.
func (r *Keyring) unreadable(id string, reason error) error {
	return fmt.Errorf("keyring: %s: %w: %s", r.where(id), ErrUnreadable, reason)
}

func (r *Keyring) damaged(id string, reason error) error {
	if errors.Is(reason, envelope.ErrUnsupportedVersion) {
		return fmt.Errorf("keyring: %s: a later Coffer wrote it: update this one: %w", r.where(id), reason)
	}
	return r.unreadable(id, fmt.Errorf("damaged, restore it from a backup (%s)", reason))
}
