package cache

import (
	"slices"
	"sync"
)

// buffer is pooled memory for packages that are written to the store, which keeps no reference to them, or for
// decrypted values.
type buffer struct{ bytes []byte }

// maxPooledBuffer is the largest buffer, in bytes, that is returned to the pool.
const maxPooledBuffer = 1 << 20

var bufferPool = sync.Pool{New: func() any { return new(buffer) }}

func getBuffer() *buffer { return bufferPool.Get().(*buffer) }

// reserve clears the buffer and returns an empty slice of it with a capacity of at least n bytes, for a decrypted
// value.
func (b *buffer) reserve(n int) []byte {
	clear(b.bytes[:cap(b.bytes)])
	b.bytes = slices.Grow(b.bytes[:0], n)
	return b.bytes
}

// putCleared clears the buffer, which has had decrypted values, and returns it to the pool.
func (b *buffer) putCleared() {
	clear(b.bytes[:cap(b.bytes)])
	b.put()
}

// put returns the buffer to the pool.
func (b *buffer) put() {
	if cap(b.bytes) > maxPooledBuffer {
		return
	}
	b.bytes = b.bytes[:0]
	bufferPool.Put(b)
}
