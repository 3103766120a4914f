//go:build js && wasm

package main

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var errHandle = &codes.Error{Of: "closed", Text: "no such session"}

// session is what one open store or service keeps here: a keyset document, or one key that needs none.
type session struct {
	handle   int32
	document *envelope.Document
	index    *envelope.Index
	records  []envelope.Record // of the document; nil until they are read, and again when it was changed
	single   single
	writers  [format.NumUses + 1][classify.PHI + 1]writer
}

// single has the fields of a header that depend on the key, for packages without a keyset.
type single struct {
	source     format.Source
	iterations uint32
	keyID      format.KeyID
}

type writer struct {
	salt   format.Salt
	budget *envelope.Budget
}

// sessions are few: a page has one for each store or service that is open. A handle is never used again.
var sessions []*session
var lastHandle int32

// openOver begins a session with a document, of which some roots are open.
func openOver(d *envelope.Document, opened func(envelope.Root) bool) int32 {
	return open(&session{document: d, index: envelope.NewIndexUnder(d, opened)})
}

//go:noinline
func open(s *session) int32 {
	lastHandle++
	s.handle = lastHandle
	sessions = append(sessions, s)
	return lastHandle
}

//go:noinline
func sessionOf(handle int32) (*session, error) {
	for _, s := range sessions {
		if s.handle == handle {
			return s, nil
		}
	}
	return nil, errHandle
}

// closeSession forgets a handle.
//
//go:wasmexport closeSession
func closeSession(handle int32) {
	for i, s := range sessions {
		if s.handle == handle {
			last := len(sessions) - 1
			sessions[i], sessions[last] = sessions[last], nil
			sessions = sessions[:last]
			return
		}
	}
}

func (s *session) primary(use format.Use, class classify.Class) (format.KeyID, error) {
	if s.document == nil {
		return s.single.keyID, nil
	}
	return s.index.Primary(use, class)
}

// changed forgets what was made of the document as it was.
func (s *session) changed() {
	s.records = nil
	s.index = envelope.NewIndex(s.document)
}

// readRecords reads the records once, not for each of them: a document has thousands. Their MACs alias the document.
func (s *session) readRecords() []envelope.Record {
	if s.records == nil {
		s.document.Records(func(r *envelope.Record) bool {
			s.records = append(s.records, *r)
			return true
		})
	}
	return s.records
}
