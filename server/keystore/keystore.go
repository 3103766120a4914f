// Package keystore keeps small documents durably: the keysets of tenants, and the state of the work on them.
//
// It guarantees that a document is replaced as a whole, and only by a caller that knows its current content
// (compare-and-swap). So processes that share a store lose none of each other's changes. When a call returns,
// the change has reached the disk. Two indexes change together with the documents: a feed of changes, so that
// a process rereads only the documents that changed, and an index by due time, so that it looks only at the
// documents that need something. Neither costs more if there are more idle documents.
//
// The package never sees a key: documents hold wrapped keys only. Every driver passes the suite of package
// keystoretest.
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

// The kinds.
const (
	Keysets   Kind = "keyset"   // a tenant's keyset document, by the tenant's id
	Rotations Kind = "rotation" // the state of a tenant's rotation, by the tenant's id
	Sweeps    Kind = "sweep"    // the progress of sweeps over the cache
	Servers   Kind = "server"   // announcements of running servers, by the server's id
	Tokens    Kind = "token"    // the tokens of an environment, by the token's id
	TokenUses Kind = "tokenuse" // when tokens were last used
)

// Kinds lists all kinds.
var Kinds = []Kind{Keysets, Rotations, Sweeps, Servers, Tokens, TokenUses}

const (
	// MaxDocument is the size of the largest document in bytes.
	MaxDocument = envelope.MaxDocument
	// MaxName is the length of the longest name in bytes.
	MaxName = 1024
)

// The sentinels.
var (
	// ErrUnavailable reports that a document cannot be read or written.
	ErrUnavailable = &codes.Error{Of: "keyring_unavailable", Text: "the store of keysets cannot be read or written"}
	// ErrFull reports that the disk is full: documents can be read, and not be written. It is also ErrUnavailable.
	ErrFull = fmt.Errorf("%w: no space left", ErrUnavailable)
	// ErrFeedLost reports that changes were trimmed before the reader asked for them, or that the store went
	// back to an earlier state. Read the current position, then reread every document that you hold.
	ErrFeedLost = &codes.Error{Of: "keyring_unavailable", Text: "the feed of changes does not go back to the reader's position"}
)

// Document is a named document.
type Document struct {
	Name    string
	Content []byte
	Err     error // why the document cannot be read, if it is damaged; then it may have no name, and has no content
}

// Change names a document that may have changed.
type Change struct {
	Kind Kind
	Name string
}

// Position is a place in the feed of changes. It is opaque, and comes from Changes.
type Position string

// Store keeps documents. It is safe for concurrent use by several processes. Every method can fail with
// ErrUnavailable or the context's error.
type Store interface {
	// Get returns a document, nil if it does not exist.
	Get(ctx context.Context, kind Kind, name string) ([]byte, error)

	// Swap replaces the document by another one if it equals old; nil is a missing document. It reports
	// whether the store holds the new document. If the document is neither old nor the new one, Swap changes
	// nothing and reports false. So if two callers write identical documents, Swap may report true to both.
	//
	// The feed of changes and the index of due times change in the same step. due is when somebody has to look
	// at the document, in milliseconds since 1970; 0 means never.
	//
	// After an error the document may have been replaced or not: Replace reads back.
	Swap(ctx context.Context, kind Kind, name string, old, document []byte, due int64) (swapped bool, err error)

	// Page returns the first documents of a kind after a place, at most limit of them, in an order that never
	// changes; and the place where the next page begins, empty after the last page. The first place is empty.
	// A page can be shorter than limit before the end. A document that is added or removed in the meantime may
	// be missing; all others are returned exactly once.
	Page(ctx context.Context, kind Kind, after string, limit int) (documents []Document, next string, err error)

	// Changes returns which documents may have changed since a position, and the position behind them. It
	// returns a bounded number: call it again until it returns none. An empty position returns no changes and
	// the current position. It returns ErrFeedLost if it does not know all changes since the position.
	Changes(ctx context.Context, since Position) (changes []Change, next Position, err error)

	// Due returns the names of documents whose due time is until or earlier, earliest first, at most limit.
	Due(ctx context.Context, kind Kind, until int64, limit int) (names []string, err error)

	// Where names the place of a document for people: a path, or a key of Redis.
	Location(kind Kind, name string) string
}

// ManyGetter is an optional capability of a Store: it reads many documents in one step. It returns one for each name, in the order
// of names: with an error if it cannot be read, and with nil as its content if it does not exist.
type ManyGetter interface {
	GetMany(ctx context.Context, kind Kind, names []string) []Document
}

// GetMany is ManyGetter's method for every store.
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

// CheckWrite refuses what no document can be, for drivers.
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

// pageSize is how many documents All reads at once.
const pageSize = 100

// All returns all documents of a kind, page by page. A damaged one is an error, and others follow it. An error
// without a document is the last.
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
