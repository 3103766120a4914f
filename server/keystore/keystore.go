// Package keystore keeps small documents durably: the keysets of tenants, and what is known of the work on them.
//
// What it guarantees: a document is replaced as a whole, and only by who knows what it replaces
// (compare-and-swap), so that processes that share a store lose no other's change; when a call returns, what
// was written outlasts a kill and a power cut; and what is there is the former or the new document, never a
// part of one. It knows nothing of keys: what it is given holds wrapped ones only. Every driver passes the
// one suite of package keystoretest.
package keystore

import (
	"context"
	"iter"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Kind says what a document is. Names are apart by kind.
type Kind string

// The kinds.
const (
	Keysets   Kind = "keyset"   // a tenant's keyset document, by the tenant's id
	Rotations Kind = "rotation" // what is known of a tenant's rotation, by the tenant's id
	Leases    Kind = "lease"    // who does what now, by what is done
)

// MaxDocument is the size of the largest document in bytes.
const MaxDocument = envelope.MaxDocument

// ErrUnavailable says that a document cannot be read or written.
var ErrUnavailable = &codes.Error{Of: "keyring_unavailable", Text: "the store of keysets cannot be read or written"}

// Store is where documents are kept. It is safe for concurrent use, by several processes too. Every method
// can fail with ErrUnavailable or the context's error; after a failed Swap the document may have been
// replaced or not.
type Store interface {
	// Get gives a document, nil where there is none.
	Get(ctx context.Context, kind Kind, name string) ([]byte, error)

	// Swap replaces the document if it now equals old, nil for none there, by document, nil for none. It
	// reports false, and changes nothing, where it does not. Two who write the same document at once may both
	// be told that they did.
	Swap(ctx context.Context, kind Kind, name string, old, document []byte) (swapped bool, err error)

	// All gives the documents of a kind, in no order. One that comes or goes meanwhile may be missed.
	All(ctx context.Context, kind Kind) iter.Seq2[[]byte, error]

	// Page gives the first documents of a kind, limit at most, that come after a place, in an order of the
	// store's own that stays the same; and the place to go on from, empty where there are no more. It begins
	// with the empty place. No others are read. One that comes or goes meanwhile may be missed; the others
	// are there once each.
	Page(ctx context.Context, kind Kind, after string, limit int) (documents [][]byte, next string, err error)

	// Generation gives a text that is another one after every change of a document of the kind, by whomever.
	Generation(ctx context.Context, kind Kind) (string, error)

	// Where names the place of a document for people: a path, or a key of Redis.
	Where(kind Kind, name string) string
}
