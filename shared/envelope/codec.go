package envelope

import "github.com/coffer-storage/coffer/shared/wire"

// codec passes over the fields of an encoding in their order. If write is set it appends them to bytes, else it takes them off bytes,
// so that one list of fields serves both ways. Its methods are not inlined: their many copies would make the browser's core larger.
// After the first field that cannot be read, failed stays set and fields stay zero.
type codec struct {
	write  bool
	failed bool
	bytes  []byte
}

// fixed passes over a field of a fixed size.
//
//go:noinline
func (c *codec) fixed(field []byte) {
	if c.write {
		c.bytes = append(c.bytes, field...)
	} else {
		copy(field, c.take(len(field)))
	}
}

// uint passes over an integer of some bytes.
//
//go:noinline
func (c *codec) uint(v uint64, size int) uint64 {
	if c.write {
		c.bytes = wire.AppendUint(c.bytes, v, size)
		return v
	}
	v = 0
	for _, b := range c.take(size) {
		v = v<<8 | uint64(b)
	}
	return v
}

//go:noinline
func (c *codec) uint8(field *uint8) {
	if v := c.uint(uint64(*field), 1); !c.write {
		*field = uint8(v)
	}
}

//go:noinline
func (c *codec) uint32(field *uint32) {
	if v := c.uint(uint64(*field), 4); !c.write {
		*field = uint32(v)
	}
}

//go:noinline
func (c *codec) int64(field *int64) {
	if v := c.uint(uint64(*field), 8); !c.write {
		*field = int64(v)
	}
}

// text passes over a text that has its 16-bit length before it.
//
//go:noinline
func (c *codec) text(field *string) {
	n := int(c.uint(uint64(len(*field)), 2))
	if c.write {
		c.bytes = append(c.bytes, *field...)
	} else {
		*field = string(c.take(n))
	}
}

// bytes16 passes over bytes that have their 16-bit length before them.
//
//go:noinline
func (c *codec) bytes16(field *[]byte) {
	n := int(c.uint(uint64(len(*field)), 2))
	if c.write {
		c.bytes = append(c.bytes, *field...)
	} else {
		*field = append([]byte(nil), c.take(n)...)
	}
}

// count passes over the number of elements of a list, of which a reader accepts up to limit.
//
//go:noinline
func (c *codec) count(n, limit int) int {
	if n = int(c.uint(uint64(n), 2)); n > limit && !c.write {
		c.failed = true
		return 0
	}
	return n
}

// list passes over the number of elements of a list and the elements.
func list[T any](c *codec, all *[]T, limit int, fields func(*T, *codec)) {
	n := c.count(len(*all), limit)
	for i := 0; i < n && !c.failed; i++ {
		if !c.write {
			*all = append(*all, *new(T))
		}
		fields(&(*all)[i], c)
	}
}

//go:noinline
func (c *codec) take(n int) []byte {
	if c.failed || n < 0 || len(c.bytes) < n {
		c.failed = true
		return nil
	}
	field := c.bytes[:n]
	c.bytes = c.bytes[n:]
	return field
}

// whole reports whether everything was read.
func (c *codec) readAll() bool { return !c.failed && len(c.bytes) == 0 }
