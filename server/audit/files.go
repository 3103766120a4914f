package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/coffer-storage/coffer/internal/durable"
)

// The directory of a log has the file chains and a directory for each chain, its number, with the chain's files, which
// are numbered. Chains come in pairs, 1 and 2, 3 and 4: a process writes both. Locks are files named lock.

const maxChains = 256 // chains of a log: two for each process that writes to it at once

func listPath(dir string) string { return filepath.Join(dir, "chains") }

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

func chainDir(dir string, chain uint32) string { return filepath.Join(dir, fmt.Sprint(chain)) }

// firstOf returns the first chain of the process that writes a chain. Its directory has the head and the lock of both.
func firstOf(chain uint32) uint32 { return chain - (chain+1)%2 }

func headPath(dir string, chain uint32) string {
	return filepath.Join(chainDir(dir, firstOf(chain)), "head")
}

// logFile is a file of a chain.
type logFile struct {
	path   string
	number uint64 // from 1
	size   int64  // as far as it is to be read
}

func newLogFile(dir string, chain uint32, number uint64) logFile {
	return logFile{path: filepath.Join(chainDir(dir, chain), fmt.Sprintf("%020d.log", number)), number: number}
}

// name returns CHAIN/FILE.
func (f logFile) name() string {
	return filepath.Base(filepath.Dir(f.path)) + "/" + filepath.Base(f.path)
}

// listFiles returns the files of a chain from a number on, in order. The directory need not exist.
func listFiles(dir string, chain uint32, from uint64) (files []logFile, err error) {
	entries, err := os.ReadDir(chainDir(dir, chain)) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("audit: %w", err)
	}
	for _, e := range entries {
		number, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), ".log"), 10, 64)
		one := newLogFile(dir, chain, number)
		if err != nil || filepath.Base(one.path) != e.Name() || number < from {
			continue
		}
		info, err := os.Stat(one.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was deleted in the meantime
		}
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		one.size = info.Size()
		files = append(files, one)
	}
	return files, nil
}

// listChains returns the chains that have a directory.
func listChains(dir string) (chains []uint32, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("audit: %w", err)
	}
	for _, e := range entries {
		if n, ok := parseNumber([]byte(e.Name())); ok && n < maxChains {
			chains = append(chains, uint32(n))
		}
	}
	slices.Sort(chains)
	return chains, nil
}

// openFile opens a file of the log to be read.
func openFile(path string) (*os.File, error) {
	file, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return file, nil
}

// reader reads the lines of a chain in order. It is for one goroutine.
type reader struct {
	linker
	at Anchor // the last line
}

// ending is the first thing in a file that is not the next line of its chain.
type ending struct {
	line     int    // its number in the file, from 1
	text     []byte // at most maxLine bytes of it
	cutShort bool   // a kill, a full disk or a power cut leaves such an end of a file
}

// read reads the lines of a file from an offset on, and calls each with those that follow. It returns nil at the end
// of the file.
func (r *reader) read(ctx context.Context, f logFile, offset int64, each func(text []byte)) (*ending, error) {
	file, err := openFile(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewReaderSize(io.NewSectionReader(file, offset, max(0, f.size-offset)), maxLine)
	for number := 1; ctx.Err() == nil; number++ {
		text, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return nil, nil
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("audit: %s: %w", f.name(), err)
		}
		line, whole := bytes.CutSuffix(text, []byte{'\n'})
		if l, ok := parseLink(line); ok && whole && r.follows(r.at, l) {
			r.at = l.Anchor
			each(line)
			continue
		}
		e := &ending{line: number, text: slices.Clone(text)}
		e.cutShort, err = isCutShort(e.text, lines)
		return e, err
	}
	return nil, ctx.Err()
}

// isCutShort reports whether a text, and the rest of its file, is the beginning of a line, zeros, or both.
func isCutShort(text []byte, rest *bufio.Reader) (bool, error) {
	text = bytes.TrimRight(text, "\x00")
	begin := min(len(text), len(lineBegin))
	if string(text[:begin]) != lineBegin[:begin] || len(text) >= maxLine || bytes.IndexByte(text, '\n') >= 0 {
		return false, nil
	}
	for {
		b, err := rest.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil || b != 0 {
			return false, err
		}
	}
}

// firstLine returns the first line of a file as it stands there; a zero one if the file has none.
func firstLine(f logFile) (Line, error) {
	file, err := openFile(f.path)
	if err != nil {
		return Line{}, err
	}
	defer file.Close()
	text, err := bufio.NewReaderSize(file, maxLine).ReadSlice('\n')
	if err != nil {
		return Line{}, nil
	}
	l, _ := parseLine(bytes.TrimSuffix(text, []byte{'\n'}))
	return l, nil
}

const blockSize = 64 << 10

// text is a line of a file without its end, and its offset.
type text struct {
	line  []byte
	start int64
}

// backward yields the lines of a file from its end, in bounded memory. A line longer than maxLine comes in parts.
func backward(file io.ReaderAt, size int64) iter.Seq2[text, error] {
	return func(yield func(text, error) bool) {
		held := []byte{} // behind size, up to the end of the next line
		for size > 0 || len(held) > 0 {
			if i := bytes.LastIndexByte(held[:max(0, len(held)-1)], '\n'); len(held) > 0 && (i >= 0 || size == 0 || len(held) > maxLine) {
				if !yield(text{bytes.TrimSuffix(held[i+1:], []byte{'\n'}), size + int64(i) + 1}, nil) {
					return
				}
				held = held[:i+1]
				continue
			}
			n := min(size, blockSize)
			block := make([]byte, int(n)+len(held))
			if _, err := file.ReadAt(block[:n], size-n); err != nil {
				yield(text{}, err)
				return
			}
			copy(block[n:], held)
			size, held = size-n, block
		}
	}
}
