package seal

import (
	"sync"

	"github.com/coffer-storage/coffer/shared/format"
)

// buffers is the pooled memory of one call of Seal or Open. Values whose address is passed to an interface method would
// otherwise be allocated by every call.
type buffers struct {
	parsed         format.Header
	header         []byte // the encoded header
	details        []byte // the part of the plaintext before the value
	additionalData []byte
	memory         []byte // backs the three slices above
}

// maxPooledBuffers is the largest memory, in bytes, that is returned to the pool.
const maxPooledBuffers = 64 << 10

var bufferPool = sync.Pool{New: func() any { return &buffers{memory: make([]byte, 0, 512)} }}

func getBuffers() *buffers { return bufferPool.Get().(*buffers) }

// put clears the plaintext in b and returns b to the pool.
func (b *buffers) put() {
	clear(b.details)
	b.details = nil
	if cap(b.additionalData) > cap(b.memory) {
		b.memory = b.additionalData
	}
	if cap(b.memory) > maxPooledBuffers {
		return
	}
	b.parsed.Context = format.Context{}
	bufferPool.Put(b)
}

// encode encodes the header, the details and the additional data of a package that is about to be sealed.
func (b *buffers) encode(h *format.Header, req *Request) error {
	m, err := h.Append(b.memory[:0])
	if err != nil {
		return err
	}
	headerEnd := len(m)
	if req.hasDetails() {
		if m, err = format.AppendDetails(m, h, req.details()); err != nil {
			return err
		}
	}
	detailsEnd := len(m)
	if m, err = format.AppendAdditionalData(m, m[:headerEnd], req.Place); err != nil {
		return err
	}
	b.header, b.details, b.additionalData = m[:headerEnd:headerEnd], m[headerEnd:detailsEnd:detailsEnd], m[detailsEnd:]
	return nil
}
