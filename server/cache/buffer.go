package cache

import (
	"slices"
	"sync"
)

// buffer holds packages on their way into the store, which keeps no reference to them.
type buffer struct{ bytes []byte }

// keptBuffer is the size in bytes up to which a buffer is used again.
const keptBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

// reserve returns an empty slice of at least n bytes of the buffer, for values in the clear. Its former content is cleared.
func (b *buffer) reserve(n int) []byte {
	clear(b.bytes[:cap(b.bytes)])
	b.bytes = slices.Grow(b.bytes[:0], n)
	return b.bytes
}

// putCleared is put for a buffer that held values in the clear.
func (b *buffer) putCleared() {
	clear(b.bytes[:cap(b.bytes)])
	b.put()
}

func (b *buffer) put() {
	if cap(b.bytes) > keptBuffer {
		return
	}
	b.bytes = b.bytes[:0]
	buffers.Put(b)
}
