package envelope

import "github.com/coffer-storage/coffer/shared/wire"

// codec encodes or decodes the fields of a structure, one after another. If write is true, each method appends its field to
// bytes; otherwise it sets the field from the start of bytes. So one list of fields serves both directions. After the first
// field that cannot be decoded, failed stays true and further fields stay zero. The methods are not inlined, because
// inlined copies would make the browser's core larger.
type codec struct {
	write  bool
	failed bool
	bytes  []byte
}

// fixed encodes or decodes a field of fixed size.
//
//go:noinline
func (c *codec) fixed(field []byte) {
	if c.write {
		c.bytes = append(c.bytes, field...)
	} else {
		copy(field, c.take(len(field)))
	}
}

// uint encodes v in size bytes, or decodes such an integer and returns it.
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

// text encodes or decodes a text that follows its 16-bit length.
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

// bytes16 encodes or decodes bytes that follow their 16-bit length.
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

// count encodes or decodes the number of elements of a list. Decoding fails if it exceeds limit.
//
//go:noinline
func (c *codec) count(n, limit int) int {
	if n = int(c.uint(uint64(n), 2)); n > limit && !c.write {
		c.failed = true
		return 0
	}
	return n
}

// list encodes or decodes the number of elements of a list and then the elements.
func list[T any](c *codec, all *[]T, limit int, fields func(*T, *codec)) {
	n := c.count(len(*all), limit)
	for i := 0; i < n && !c.failed; i++ {
		if !c.write {
			*all = append(*all, *new(T))
		}
		fields(&(*all)[i], c)
	}
}

// take removes n bytes from the start of bytes and returns them. They alias bytes.
//
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

// readAll reports whether decoding succeeded and no bytes are left.
func (c *codec) readAll() bool { return !c.failed && len(c.bytes) == 0 }
