package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The directory of a log has the file chains and a directory for each chain, its number. A chain's directory has the
// file head and the chain's files, each named by the number of its first line. Locks are files named lock.

const (
	keptChain = 0   // has what retention keeps of deleted files; processes write to it in turn
	maxChains = 256 // chains of a log, and so processes that write to it at once
)

func listPath(dir string) string { return filepath.Join(dir, "chains") }

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

func chainDir(dir string, chain uint32) string { return filepath.Join(dir, fmt.Sprint(chain)) }

func headPath(dir string, chain uint32) string { return filepath.Join(chainDir(dir, chain), "head") }

// logFile is a file of a chain.
type logFile struct {
	path  string
	first uint64 // the number of its first line
	size  int64  // as far as it is to be read
}

func newLogFile(dir string, chain uint32, first uint64) logFile {
	return logFile{path: filepath.Join(chainDir(dir, chain), fmt.Sprintf("%0*d.log", digits, first)), first: first}
}

// name returns CHAIN/FILE.
func (f logFile) name() string {
	return filepath.Base(filepath.Dir(f.path)) + "/" + filepath.Base(f.path)
}

// listFiles returns the files of a chain behind a line, the oldest first. The directory need not exist.
func listFiles(dir string, chain uint32, after uint64) (files []logFile, err error) {
	entries, err := os.ReadDir(chainDir(dir, chain)) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("audit: %w", err)
	}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), ".log")
		first, err := strconv.ParseUint(digits, 10, 64)
		one := newLogFile(dir, chain, first)
		if !ok || err != nil || filepath.Base(one.path) != e.Name() || first <= after {
			continue
		}
		info, err := os.Stat(one.path)
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

// InUse reports whether anything of a log is in a directory.
func InUse(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	used := func(e fs.DirEntry) bool { return e.Name() != "lock" && e.Name()[0] != '.' } // or a kill left it
	return slices.ContainsFunc(entries, used), err
}

// openRegular opens a file to be read. It refuses a file that would block a reader, or never end.
func openRegular(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("audit: %w", err), file.Close())
	}
	return file, nil
}

// readRegular reads a file up to one byte beyond a limit.
func readRegular(path string, limit int64) ([]byte, error) {
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit+1))
}

const blockSize = 64 << 10

// backward reads the lines of a file from its end, in bounded memory.
type backward struct {
	file io.ReaderAt
	at   int64  // bytes that were not read yet
	held []byte // those behind them, up to the end of the next line
}

// next returns a line without its end, and its offset. It returns io.EOF after the first one. A line that is
// longer than maxLine comes in parts.
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
		n := min(b.at, blockSize)
		block := make([]byte, int(n)+len(b.held))
		if _, err := b.file.ReadAt(block[:n], b.at-n); err != nil {
			return nil, 0, err
		}
		copy(block[n:], b.held)
		b.at, b.held = b.at-n, block
	}
}
