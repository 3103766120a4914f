package cache

import "sync"

// buffer holds packages on their way into the store, which keeps no reference to them.
type buffer struct{ bytes []byte }

// keptBuffer is the size in bytes up to which a buffer is used again.
const keptBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) put() {
	if cap(b.bytes) > keptBuffer {
		return
	}
	b.bytes = b.bytes[:0]
	buffers.Put(b)
}
