//go:build js && wasm

package main

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var errNoSession = &codes.Error{ErrorCode: "closed", Message: "no such session"}

// session holds the state of one open store or service: a keyset document, or a single key without a keyset.
type session struct {
	handle   int32
	document *envelope.Document
	index    *envelope.Index
	records  []envelope.Record // records of the document; nil if they must be read again
	single   single
	writers  [format.NumUses + 1][classify.PHI + 1]writer
}

// single holds the fields of a header that depend on the key, for packages without a keyset.
type single struct {
	source     format.Source
	iterations uint32
	keyID      format.KeyID
}

// writer is a salt and its budget.
type writer struct {
	salt   format.Salt
	budget *envelope.Budget
}

// sessions lists the open sessions. There are few of them: one for each open store or service. A handle is not used again.
var sessions []*session
var lastHandle int32

// addDocumentSession starts a session with a document and returns its handle. The session uses only the records under roots
// for which opened returns true.
func addDocumentSession(d *envelope.Document, opened func(envelope.Root) bool) int32 {
	return addSession(&session{document: d, index: envelope.NewIndexUnder(d, opened)})
}

// addSession adds a session and returns its handle.
//
//go:noinline
func addSession(s *session) int32 {
	lastHandle++
	s.handle = lastHandle
	sessions = append(sessions, s)
	return lastHandle
}

// sessionOf returns the session with a handle.
//
//go:noinline
func sessionOf(handle int32) (*session, error) {
	for _, s := range sessions {
		if s.handle == handle {
			return s, nil
		}
	}
	return nil, errNoSession
}

// closeSession removes a session.
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

// changed updates the session after a change of its document.
func (s *session) changed() {
	s.records = nil
	s.index = envelope.NewIndex(s.document)
}

// readRecords returns the records of the document. It caches them, because the shell asks for one record at a time and a
// document can have thousands. Their MACs alias the document.
func (s *session) readRecords() []envelope.Record {
	if s.records == nil {
		s.document.Records(func(r *envelope.Record) bool {
			s.records = append(s.records, *r)
			return true
		})
	}
	return s.records
}
