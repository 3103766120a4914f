package audit

import "context"

// Reader reads the log at a path for those who are shown it. It proves nothing: that is for verify.
type Reader struct {
	path string
	key  *Key
}

// NewReader makes a reader of the log at a path, whose head was made with the key.
func NewReader(path string, key *Key) *Reader { return &Reader{path, key} }

// Page gives a page of events; see Page.
func (r *Reader) Page(ctx context.Context, q Query) (entries []Entry, next uint64, err error) {
	return Page(ctx, r.path, q)
}

// Head gives the head as it is on the disk. It returns ErrHead where it is missing or was not made with the key.
func (r *Reader) Head() (Head, error) { return ReadHead(r.path, r.key) }
