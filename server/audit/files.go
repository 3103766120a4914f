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

// A log is a directory that contains the file "chains", which lists the chains, and one directory for each chain. The
// directory of a chain is named by its number and contains the chain's numbered files. Chains come in pairs (1 and 2, 3
// and 4), because each process writes two. Lock files are named "lock".

const maxChains = 256 // upper bound of chain numbers; each process that writes at the same time needs two

func chainListPath(dir string) string { return filepath.Join(dir, "chains") }

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

func chainDir(dir string, chain uint32) string { return filepath.Join(dir, fmt.Sprint(chain)) }

// firstOfPair returns the first chain of the pair that a chain belongs to. Its directory contains the head and the lock
// of both.
func firstOfPair(chain uint32) uint32 { return chain - (chain+1)%2 }

func headPath(dir string, chain uint32) string {
	return filepath.Join(chainDir(dir, firstOfPair(chain)), "head")
}

// logFile is a file of a chain.
type logFile struct {
	path   string
	number uint64 // counts from 1
	size   int64  // readers stop at this offset
}

func newLogFile(dir string, chain uint32, number uint64) logFile {
	return logFile{path: filepath.Join(chainDir(dir, chain), fmt.Sprintf("%020d.log", number)), number: number}
}

// displayName returns CHAIN/FILE, the name of the file in reports.
func (f logFile) displayName() string {
	return filepath.Base(filepath.Dir(f.path)) + "/" + filepath.Base(f.path)
}

// listFiles returns the files of a chain, in order, from a number on. It returns no files if the directory does not
// exist.
func listFiles(dir string, chain uint32, from uint64) (files []logFile, err error) {
	entries, err := os.ReadDir(chainDir(dir, chain)) // sorted by name
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
			continue // deleted since the directory was read
		}
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		one.size = info.Size()
		files = append(files, one)
	}
	return files, nil
}

// listChains returns, in order, the numbers of the chains that have a directory.
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

// openFile opens a file of the log for reading.
func openFile(path string) (*os.File, error) {
	file, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return file, nil
}

// chainReader reads the lines of a chain in order and checks their MACs. One goroutine uses it.
type chainReader struct {
	lineMAC
	last Anchor // the last line that was read
}

// fileTail is the first text in a file that is not the next line of its chain.
type fileTail struct {
	line     int    // line number in the file, from 1
	text     []byte // its first maxLine bytes
	cutShort bool   // the tail is as a kill, a full disk or a power cut leaves it
}

// readFile reads the lines of a file from an offset on, and calls each for every line that is the next one of the
// chain. It stops at the first text that is not, and returns that, or nil if the file ends with a line of the chain.
func (r *chainReader) readFile(ctx context.Context, f logFile, offset int64, each func(text []byte)) (*fileTail, error) {
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
			return nil, fmt.Errorf("audit: %s: %w", f.displayName(), err)
		}
		line, whole := bytes.CutSuffix(text, []byte{'\n'})
		if l, ok := parseChainedLine(line); ok && whole && r.isNext(r.last, l) {
			r.last = l.Anchor
			each(line)
			continue
		}
		e := &fileTail{line: number, text: slices.Clone(text)}
		e.cutShort, err = isCutShort(e.text, lines)
		return e, err
	}
	return nil, ctx.Err()
}

// isCutShort reports whether the text together with the rest of its file is the beginning of a line, zeros, or a
// beginning followed by zeros. A power cut can leave zeros if the file system extended the file before it wrote the
// data.
func isCutShort(text []byte, remainder *bufio.Reader) (bool, error) {
	text = bytes.TrimRight(text, "\x00")
	begin := min(len(text), len(lineBegin))
	if string(text[:begin]) != lineBegin[:begin] || len(text) >= maxLine || bytes.IndexByte(text, '\n') >= 0 {
		return false, nil
	}
	for {
		b, err := remainder.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil || b != 0 {
			return false, err
		}
	}
}

// firstLine returns the first line of a file without checking it. It returns a zero Line if the file has no line.
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

// fileLine is a line of a file without its newline, and its offset.
type fileLine struct {
	line  []byte
	start int64
}

// readBackward yields the lines of a file from its end to its beginning, in bounded memory. It yields a line longer
// than maxLine in parts.
func readBackward(file io.ReaderAt, size int64) iter.Seq2[fileLine, error] {
	return func(yield func(fileLine, error) bool) {
		pending := []byte{} // bytes behind offset size that were read and not yet yielded
		for size > 0 || len(pending) > 0 {
			if i := bytes.LastIndexByte(pending[:max(0, len(pending)-1)], '\n'); len(pending) > 0 && (i >= 0 || size == 0 || len(pending) > maxLine) {
				if !yield(fileLine{bytes.TrimSuffix(pending[i+1:], []byte{'\n'}), size + int64(i) + 1}, nil) {
					return
				}
				pending = pending[:i+1]
				continue
			}
			n := min(size, blockSize)
			block := make([]byte, int(n)+len(pending))
			if _, err := file.ReadAt(block[:n], size-n); err != nil {
				yield(fileLine{}, err)
				return
			}
			copy(block[n:], pending)
			size, pending = size-n, block
		}
	}
}
