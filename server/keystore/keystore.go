// Package keystore stores small documents durably: keysets of tenants, and the state of the service's work on them.
//
// A [Store] replaces a document as a whole, and only if the caller knows its present content (compare-and-swap), so
// processes that share a store lose none of each other's changes. When a call returns, the change is on disk. Two
// indexes change in the same step as the documents. A feed of changes lets a process reread only the documents that
// changed. An index by due time lets it look only at the documents that need work. Their cost does not depend on the
// number of idle documents.
//
// A document has wrapped keys only; the package never sees a plaintext key. Drivers are packages sqlitekeys and
// rediskeys. A new driver has to pass the conformance suite in package keystoretest.
package keystore

import (
	"context"
	"fmt"
	"iter"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Kind is the kind of a document. Two documents of different kinds may have the same name.
type Kind string

// The kinds of documents.
const (
	Keysets   Kind = "keyset"   // a tenant's keyset document, by the tenant's id
	Rotations Kind = "rotation" // the state of a tenant's rotation, by the tenant's id
	Sweeps    Kind = "sweep"    // the progress of sweeps over the cache, and the lease of the server that runs them
	Servers   Kind = "server"   // the running servers, by the server's id
	Tokens    Kind = "token"    // the tokens of an environment, by the token's id
	TokenUses Kind = "tokenuse" // when tokens were last used
)

// Kinds lists all kinds.
var Kinds = []Kind{Keysets, Rotations, Sweeps, Servers, Tokens, TokenUses}

const (
	// MaxDocument is the largest size of a document in bytes.
	MaxDocument = envelope.MaxDocument
	// MaxName is the largest length of a name in bytes.
	MaxName = 1024
)

// Errors of stores.
var (
	// ErrUnavailable reports that a document cannot be read or written.
	ErrUnavailable = &codes.Error{ErrorCode: "keyring_unavailable", Message: "the store of keysets cannot be read or written"}
	// ErrFull reports that the disk is full: documents can be read, but not written. It is an ErrUnavailable.
	ErrFull = fmt.Errorf("%w: no space left", ErrUnavailable)
	// ErrFeedLost reports that the feed does not have all changes since the reader's position: old entries were
	// removed, or the store returned to an earlier state. Get the current position, then reread every document in
	// memory.
	ErrFeedLost = &codes.Error{ErrorCode: "keyring_unavailable", Message: "the feed of changes does not go back to the reader's position"}
)

// Document is a document with its name.
type Document struct {
	Name    string
	Content []byte
	Err     error // the reason if the document is damaged; then Content is nil, and Name may be empty
}

// Change names a document that may have changed.
type Change struct {
	Kind Kind
	Name string
}

// Position is an opaque position in the feed of changes, which Changes returns.
type Position string

// Store stores documents. It is safe for concurrent use, and several processes may use the same store. Every method
// returns ErrUnavailable if the store fails, or the error of its context.
type Store interface {
	// Get returns the content of a document, or nil if it does not exist.
	Get(ctx context.Context, kind Kind, name string) ([]byte, error)

	// Swap replaces the content of a document if it equals old. Nil is the content of a missing document: a nil old
	// creates the document, a nil document removes it. Swap reports whether the store now has the new content. If the
	// present content is neither old nor the new content, Swap changes nothing and returns false. If two callers
	// write the same content, Swap may return true to both.
	//
	// due is the time at which the service must look at the document again, in milliseconds since 1970; 0 means
	// never.
	//
	// After an error the document may have been replaced or not: use Replace, which reads it back.
	Swap(ctx context.Context, kind Kind, name string, old, document []byte, due int64) (swapped bool, err error)

	// Page returns at most limit documents of a kind, in a fixed order, and the position of the next page. after is
	// the position that the previous page returned, empty for the first page; next is empty after the last page. A
	// page may be shorter than limit before the end. A document that is added or removed between calls may be
	// missing; every other document is returned exactly once.
	Page(ctx context.Context, kind Kind, after string, limit int) (documents []Document, next string, err error)

	// Changes returns documents that may have changed since a position, in the order of the changes, and the position
	// after them. It returns a limited number: call it again until it returns no changes. For an empty position it
	// returns no changes and the current position. It returns ErrFeedLost if the feed does not have all changes since
	// the position.
	Changes(ctx context.Context, since Position) (changes []Change, next Position, err error)

	// Due returns the names of documents with a due time of until or earlier, earliest first, at most limit.
	Due(ctx context.Context, kind Kind, until int64, limit int) (names []string, err error)

	// Location describes where a document is, for messages: a path or a key of Redis.
	Location(kind Kind, name string) string
}

// ManyGetter is an optional interface of a Store that can read many documents in one round trip. GetMany returns one
// document for each name, in the order of names. Err is set if a document cannot be read, and Content is nil if it
// does not exist.
type ManyGetter interface {
	GetMany(ctx context.Context, kind Kind, names []string) []Document
}

// GetMany reads many documents, in one round trip if the store is a ManyGetter. See ManyGetter for the result.
func GetMany(ctx context.Context, s Store, kind Kind, names []string) []Document {
	if many, ok := s.(ManyGetter); ok {
		return many.GetMany(ctx, kind, names)
	}
	documents := make([]Document, len(names))
	for i, name := range names {
		content, err := s.Get(ctx, kind, name)
		documents[i] = Document{Name: name, Content: content, Err: err}
	}
	return documents
}

// CheckWrite returns an error if a name or document exceeds the limits of a store, or if the document is empty.
// Drivers call it in Swap. A nil document is valid.
func CheckWrite(where, name string, document []byte) error {
	switch {
	case len(name) > MaxName:
		return fmt.Errorf("keystore: %w: the name is longer than %d bytes", ErrUnavailable, MaxName)
	case len(document) > MaxDocument:
		return fmt.Errorf("keystore: %s: %w: the document is longer than %d bytes", where, ErrUnavailable, MaxDocument)
	case document != nil && len(document) == 0:
		return fmt.Errorf("keystore: %s: %w: the document is empty", where, ErrUnavailable)
	}
	return nil
}

// pageSize is how many documents All reads per page.
const pageSize = 100

// All yields all documents of a kind, page by page. For a damaged document it yields its Err and continues. An error
// without a name is the last element.
func All(ctx context.Context, s Store, kind Kind) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		for after := ""; ; {
			documents, next, err := s.Page(ctx, kind, after, pageSize)
			if err != nil {
				yield(Document{}, err)
				return
			}
			for _, document := range documents {
				if !yield(document, document.Err) {
					return
				}
			}
			if after = next; after == "" {
				return
			}
		}
	}
}
