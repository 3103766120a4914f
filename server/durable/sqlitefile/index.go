package sqlitefile

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3/vfs"
)

// Index is the index of a database's write-ahead log, which all connections of a process map into memory. It lies in a file without
// a name that no disk backs, if the system has such files. A write to a file of a disk that does not answer would stop the process:
// Go's scheduler does not see that a page waits. Other programs find the database locked.
type Index struct {
	database string
	path     string   // empty: the index lies beside the database
	guard    *os.File // locked; nil if the index lies beside the database
}

// NewIndex makes the index of a database that no other connection uses. If another program uses it, the error is sqlite3.BUSY.
func NewIndex(database string, logger *slog.Logger) (*Index, error) {
	dir, err := memoryDir()
	if err != nil {
		logger.Warn("the index of the embedded cache's log lies on a disk: if that does not answer, the whole process stops", "error", err.Error())
	}
	i := &Index{database: database}
	if dir == "" {
		return i, nil
	}
	i.path = filepath.Join(dir, "index")
	if i.guard, err = lockIndex(database + "-shm"); err != nil {
		return nil, errors.Join(err, i.Hide())
	}
	return i, nil
}

// Open opens a connection that uses the index.
func (i *Index) Open(ctx context.Context, schema Schema) (*Conn, error) {
	return open(ctx, i.database, i.path, schema)
}

// Dir returns the directory of the index; empty if it lies beside the database.
func (i *Index) Dir() string {
	if i.path == "" {
		return ""
	}
	return filepath.Dir(i.path)
}

// Hide takes the name away, so that a kill leaves nothing in memory. All connections must be open and have read something.
func (i *Index) Hide() error {
	if i.path == "" {
		return nil
	}
	return os.RemoveAll(i.Dir())
}

// Close lets other programs use the database. All connections must be closed. i can be nil.
func (i *Index) Close() error {
	if i == nil || i.guard == nil {
		return nil
	}
	return errors.Join(i.Hide(), os.Remove(i.guard.Name()), i.guard.Close())
}

const (
	vfsName        = "coffer" // the default file system, but for the index
	indexParameter = "index"  // of a database's URI
)

func init() { vfs.Register(vfsName, fileSystem{vfs.Find("").(vfs.VFSFilename)}) }

type fileSystem struct{ vfs.VFSFilename }

func (s fileSystem) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, opened, err := s.VFSFilename.OpenFilename(name, flags)
	if err != nil || flags&vfs.OPEN_MAIN_DB == 0 {
		return f, opened, err
	}
	return &databaseFile{f.(usualFile), vfs.NewSharedMemory(name.URIParameter(indexParameter), flags)}, opened, nil
}

// usualFile is what a file of a database can do.
type usualFile interface {
	vfs.File
	vfs.FileLockState
	vfs.FileHasMoved
	vfs.FileSizeHint
	vfs.FilePersistWAL
	vfs.FilePowersafeOverwrite
}

// databaseFile is a file of a database that has its index elsewhere.
type databaseFile struct {
	usualFile
	index vfs.SharedMemory
}

// SharedMemory implements vfs.FileSharedMemory.
func (f *databaseFile) SharedMemory() vfs.SharedMemory { return f.index }

// Close implements vfs.File.
func (f *databaseFile) Close() error {
	_ = f.index.Close()
	return f.usualFile.Close()
}
