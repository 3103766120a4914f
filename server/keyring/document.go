package keyring

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// parse parses the document of an owner. It verifies no records.
func (r *Keyring) parse(owner string, content []byte) (*envelope.Document, error) {
	d, err := envelope.ParseDocument(content)
	switch {
	case err != nil:
		return nil, r.rejectDamaged(owner, content, err)
	case d.Owner != owner:
		return nil, r.rejectAltered(owner, content, "it is another tenant's keyset")
	case d.Environment != r.environment:
		return nil, r.reject(owner, content, fmt.Errorf("keyring: %s: it is of environment %q, this is %q: %w", r.location(owner), d.Environment, r.environment, ErrWrongEnvironment))
	}
	return d, nil
}

// parseVerified parses a document and verifies its shred records, so that a forged record does not make a tenant look
// shredded.
func (r *Keyring) parseVerified(ctx context.Context, document keystore.Document) (*envelope.Document, error) {
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

// read returns the document of an owner and its bytes, or nil if it does not exist. It verifies shred records, but no
// others.
func (r *Keyring) read(ctx context.Context, owner string) (*envelope.Document, []byte, error) {
	content, err := r.store.Get(ctx, keystore.Keysets, owner)
	if err != nil || content == nil {
		return nil, nil, err
	}
	d, err := r.parseVerified(ctx, keystore.Document{Name: owner, Content: content})
	if err != nil {
		return nil, nil, err
	}
	return d, content, nil
}

// Document reads a tenant's keyset document from the store: its wrapped keys and their states. It returns ErrNoTenant
// if the document does not exist. Document verifies only the tenant's shred records; a KEK may have to unlock the
// system document for this.
func (r *Keyring) Document(ctx context.Context, tenant string) (*envelope.Document, error) {
	if err := checkTenant(tenant); err != nil {
		return nil, err
	}
	return r.ownerDocument(ctx, tenant)
}

// SystemDocument is like [Keyring.Document] for the system document.
func (r *Keyring) SystemDocument(ctx context.Context) (*envelope.Document, error) {
	return r.ownerDocument(ctx, systemID)
}

func (r *Keyring) ownerDocument(ctx context.Context, owner string) (*envelope.Document, error) {
	d, _, err := r.read(ctx, owner)
	if err == nil && d == nil {
		err = ErrNoTenant
	}
	return d, err
}

// DocumentsByID returns the keyset documents of tenants, by tenant id. It leaves out documents that are missing or
// cannot be read; [Keyring.Document] returns the reason.
func (r *Keyring) DocumentsByID(ctx context.Context, ids []string) map[string]*envelope.Document {
	found := make(map[string]*envelope.Document, len(ids))
	for _, document := range keystore.GetMany(ctx, r.store, keystore.Keysets, ids) {
		if document.Content == nil || document.Name == systemID {
			continue
		}
		if d, err := r.parseVerified(ctx, document); err == nil {
			found[document.Name] = d
		}
	}
	return found
}

// Documents yields the keyset documents of all tenants. For a document that is rejected it yields an error, and
// continues; see [IsRejected]. Any other error is the last element.
func (r *Keyring) Documents(ctx context.Context) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		for document, err := range keystore.All(ctx, r.store, keystore.Keysets) {
			d, err := r.parseListed(ctx, document, err)
			if (d != nil || err != nil) && !yield(d, err) {
				return
			}
		}
	}
}

// DocumentPage returns at most limit keyset documents of tenants, in a fixed order, and the position of the next
// page. after is the position that the previous page returned, empty for the first page; next is empty after the last
// page. DocumentPage reads no more documents than it returns.
func (r *Keyring) DocumentPage(ctx context.Context, after string, limit int) (page []*envelope.Document, next string, err error) {
	for {
		documents, next, err := r.store.Page(ctx, keystore.Keysets, after, limit-len(page))
		if err != nil {
			return nil, "", err
		}
		for _, document := range documents {
			d, err := r.parseListed(ctx, document, nil)
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

// parseListed parses a listed document. It returns nil for the system document.
func (r *Keyring) parseListed(ctx context.Context, document keystore.Document, err error) (*envelope.Document, error) {
	if err != nil || document.Name == systemID && document.Err == nil {
		return nil, err
	}
	return r.parseVerified(ctx, document)
}

func (r *Keyring) location(owner string) string { return r.store.Location(keystore.Keysets, owner) }

// unreadable returns an ErrUnreadable with the document's location and the reason.
func (r *Keyring) unreadable(owner string, reason error) error {
	return fmt.Errorf("keyring: %s: %w: %v", r.location(owner), ErrUnreadable, reason) //nolint:errorlint // the reason is for people
}

// rejectDamaged rejects an owner's document for an error of package envelope, and returns the error for callers.
func (r *Keyring) rejectDamaged(owner string, content []byte, reason error) error {
	if errors.Is(reason, envelope.ErrUnsupportedVersion) {
		return r.reject(owner, content, fmt.Errorf("keyring: %s: a later Coffer wrote it: update this one: %w", r.location(owner), reason))
	}
	return r.rejectAltered(owner, content, fmt.Sprintf("restore it from a backup (%s)", reason))
}

func (r *Keyring) rejectAltered(owner string, content []byte, reason string) error {
	return r.reject(owner, content, fmt.Errorf("keyring: %s: %w: %s", r.location(owner), ErrAltered, reason))
}

// encoded returns the bytes that a document was parsed from: encoding is the inverse of parsing.
func encoded(d *envelope.Document) []byte {
	content, _ := d.Append(nil) // never fails for a document that was parsed
	return content
}
