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

// Index is the index of a database's write-ahead log, which all connections of a process map into memory (the -shm file
// of SQLite).
//
// It is an unlinked file in memory, if the system has such files, because a disk that does not respond would block the
// whole process: Go's scheduler cannot see that a goroutine waits for a mapped page. Other programs cannot open the
// database until Close, not even after a kill.
type Index struct {
	database string
	path     string // empty if the index is beside the database
	info     fs.FileInfo
}

// NewIndex creates the index of a database that has no connections yet. It returns sqlite3.BUSY if another program uses
// the database. The caller must call Close after it has closed all connections.
func NewIndex(database string, logger *slog.Logger) (*Index, error) {
	dir, err := memoryDir(database)
	if err != nil {
		logger.Warn("the index of the embedded cache's log is on a disk: if that disk does not respond, the whole process stops", "error", err.Error())
	}
	i := &Index{database: database}
	if dir == "" {
		return i, unblockIndex(database + "-shm")
	}
	i.path = filepath.Join(dir, indexName)
	if err = blockIndex(database + "-shm"); err != nil {
		return nil, errors.Join(err, i.Unlink())
	}
	return i, nil
}

// unblockIndex reverses blockIndex.
func unblockIndex(path string) error {
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
	if _, err = c.Int("PRAGMA user_version"); err == nil { // a read makes SQLite open the index
		info, err = os.Stat(i.path)
	}
	if err == nil && i.info != nil && !os.SameFile(info, i.info) { // this connection would not see the transactions of the others
		err = errors.New("the index of the log was replaced")
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	i.info = info
	return c, nil
}

// Dir returns the directory of the index. It is empty if the index is beside the database.
func (i *Index) Dir() string {
	if i.path == "" {
		return ""
	}
	return filepath.Dir(i.path)
}

// Unlink removes the name of the index, so that a kill from now on leaves nothing in memory. All connections must be
// open already.
func (i *Index) Unlink() error {
	if i.path == "" {
		return nil
	}
	return os.RemoveAll(i.Dir())
}

// Close lets other programs use the database, unless its log is not empty. All connections must be closed. A nil Index
// does nothing.
func (i *Index) Close() error {
	if i == nil || i.path == "" {
		return nil
	}
	var err error
	if info, e := os.Stat(i.database + "-wal"); e != nil || info.Size() == 0 {
		err = unblockIndex(i.database + "-shm")
	}
	return errors.Join(err, i.Unlink())
}

const (
	vfsName        = "coffer" // the default file system, except that the index is elsewhere
	indexParameter = "index"  // parameter of a database's URI
	indexName      = "index"
)

func init() { vfs.Register(vfsName, fileSystem{vfs.Find("").(vfs.VFSFilename)}) }

type fileSystem struct{ vfs.VFSFilename }

func (s fileSystem) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, opened, err := s.VFSFilename.OpenFilename(name, flags)
	if err != nil || flags&vfs.OPEN_MAIN_DB == 0 {
		return f, opened, err
	}
	return &databaseFile{f.(baseFile), vfs.NewSharedMemory(name.URIParameter(indexParameter), flags)}, opened, nil
}

// baseFile is the interface of SQLite's database files.
type baseFile interface {
	vfs.File
	vfs.FileLockState
	vfs.FileHasMoved
	vfs.FileSizeHint
	vfs.FilePersistWAL
	vfs.FilePowersafeOverwrite
}

// databaseFile is a database file whose index is elsewhere.
type databaseFile struct {
	baseFile
	index vfs.SharedMemory
}

// DeviceCharacteristics implements vfs.File. It does not report atomic writes of several pages, which F2FS supports,
// because this type lacks the methods for them.
func (f *databaseFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return f.baseFile.DeviceCharacteristics() &^ vfs.IOCAP_BATCH_ATOMIC
}

// SharedMemory implements vfs.FileSharedMemory.
func (f *databaseFile) SharedMemory() vfs.SharedMemory { return f.index }

// Close implements vfs.File.
func (f *databaseFile) Close() error {
	_ = f.index.Close()
	return f.baseFile.Close()
}
