package seal

import (
	"sync"

	"github.com/coffer-storage/coffer/shared/format"
)

// scratch is the memory in which one call plans: whatever an interface's method is given would otherwise be
// allocated every time.
type scratch struct {
	parsed     format.Header
	header     []byte // the encoded header
	details    []byte // what precedes the value in the plaintext
	additional []byte // the additional data
	room       []byte // backs the three above
}

// keptScratch is the size in bytes up to which a scratch is used again.
const keptScratch = 64 << 10

var scratches = sync.Pool{New: func() any { return &scratch{room: make([]byte, 0, 512)} }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

// put returns the scratch to the pool, without what was to be sealed.
func (b *scratch) put() {
	clear(b.details)
	b.details = nil
	if cap(b.additional) > cap(b.room) {
		b.room = b.additional
	}
	if cap(b.room) > keptScratch {
		return
	}
	b.parsed.Context = format.Context{}
	scratches.Put(b)
}

// plan encodes the header, the details and the additional data of a package to be sealed.
func (b *scratch) plan(h *format.Header, req *Request) error {
	room, err := h.Append(b.room[:0])
	if err != nil {
		return err
	}
	n := len(room)
	if req.describes() {
		if room, err = format.AppendDetails(room, h, req.details()); err != nil {
			return err
		}
	}
	m := len(room)
	if room, err = format.AppendAdditionalData(room, room[:n], req.Place); err != nil {
		return err
	}
	b.header, b.details, b.additional = room[:n:n], room[n:m:m], room[m:]
	return nil
}
