package audit

import (
	"bytes"
	"io"
)

const blockSize = 64 << 10

// backward reads the lines of a file from its end, in bounded memory.
type backward struct {
	file io.ReaderAt
	at   int64  // what is before it was not read yet
	held []byte // from at on, up to the end of the line that comes next
}

// newBackward begins with the line that ends at an offset.
func newBackward(file io.ReaderAt, end int64) *backward { return &backward{file: file, at: end} }

// next gives a line without its end, and where it begins; io.EOF behind the first one. It is valid until the
// next one is read. What is longer than any line that is written comes in parts.
func (b *backward) next() (line []byte, start int64, err error) {
	for {
		if n := len(b.held); n > 0 {
			i := bytes.LastIndexByte(b.held[:n-1], '\n')
			if i >= 0 || b.at == 0 || n > maxLine {
				line, start = b.held[i+1:], b.at+int64(i)+1
				b.held = b.held[:i+1]
				return bytes.TrimSuffix(line, []byte{'\n'}), start, nil
			}
		} else if b.at == 0 {
			return nil, 0, io.EOF
		}
		if err := b.fill(); err != nil {
			return nil, 0, err
		}
	}
}

// fill reads the block before what is held.
func (b *backward) fill() error {
	n := min(b.at, blockSize)
	block := make([]byte, int(n)+len(b.held))
	if _, err := b.file.ReadAt(block[:n], b.at-n); err != nil {
		return err
	}
	copy(block[n:], b.held)
	b.at, b.held = b.at-n, block
	return nil
}
