package sqlitefile

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3/vfs"
)

// Index is the index of a database's write-ahead log, which all connections of a process map into memory. It lies in a file without
// a name that no disk backs, if the system has such files. A write to a file of a disk that does not answer would stop the process:
// Go's scheduler does not see that a page waits. Other programs cannot open the database until Close, not even after a kill.
type Index struct {
	database string
	path     string // empty: the index lies beside the database
	info     fs.FileInfo
}

// NewIndex makes the index of a database that no other connection uses. If another program uses it, the error is sqlite3.BUSY.
func NewIndex(database string, logger *slog.Logger) (*Index, error) {
	dir, err := memoryDir(database)
	if err != nil {
		logger.Warn("the index of the embedded cache's log lies on a disk: if that does not answer, the whole process stops", "error", err.Error())
	}
	i := &Index{database: database}
	if dir == "" {
		return i, unbar(database + "-shm")
	}
	i.path = filepath.Join(dir, indexName)
	if err = barIndex(database + "-shm"); err != nil {
		return nil, errors.Join(err, i.Unlink())
	}
	return i, nil
}

// unbar removes what barIndex made, if it is there.
func unbar(path string) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return remove(path)
	}
	return nil
}

// Open opens a connection that uses the index.
func (i *Index) Open(ctx context.Context, schema Schema) (*Conn, error) {
	c, err := open(ctx, i.database, i.path, schema)
	if err != nil || i.path == "" {
		return c, err
	}
	var info fs.FileInfo
	if _, err = c.Int("PRAGMA user_version"); err == nil { // a read opens the index
		info, err = os.Stat(i.path)
	}
	if err == nil && i.info != nil && !os.SameFile(info, i.info) { // this connection would not see what the others do
		err = errors.New("the index of the log was replaced")
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	i.info = info
	return c, nil
}

// Dir returns the directory of the index; empty if it lies beside the database.
func (i *Index) Dir() string {
	if i.path == "" {
		return ""
	}
	return filepath.Dir(i.path)
}

// Hide takes the name away, so that a kill from then on leaves nothing in memory. All connections must be open.
func (i *Index) Unlink() error {
	if i.path == "" {
		return nil
	}
	return os.RemoveAll(i.Dir())
}

// Close lets other programs use the database, unless there is a log. All connections must be closed. i can be nil.
func (i *Index) Close() error {
	if i == nil || i.path == "" {
		return nil
	}
	var err error
	if info, e := os.Stat(i.database + "-wal"); e != nil || info.Size() == 0 {
		err = unbar(i.database + "-shm")
	}
	return errors.Join(err, i.Unlink())
}

const (
	vfsName        = "coffer" // the default file system, but for the index
	indexParameter = "index"  // of a database's URI
	indexName      = "index"
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

// DeviceCharacteristics implements vfs.File. This type has no methods for atomic writes of several pages, which F2FS can do.
func (f *databaseFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return f.usualFile.DeviceCharacteristics() &^ vfs.IOCAP_BATCH_ATOMIC
}

// SharedMemory implements vfs.FileSharedMemory.
func (f *databaseFile) SharedMemory() vfs.SharedMemory { return f.index }

// Close implements vfs.File.
func (f *databaseFile) Close() error {
	_ = f.index.Close()
	return f.usualFile.Close()
}
