package sqlitefile

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
)

const rescueSuffix = ".rescue"

// Offsets in the first page; see https://www.sqlite.org/fileformat2.html#the_database_header.
const (
	headerCounter  = 24 // change counter, 4 bytes; if headerValidFor has another value, SQLite computes the number of pages from the file size
	headerValidFor = 92
	pageSum        = PageSize - 8
)

// openRescueCopy opens a copy of a database that does not open itself. The copy gets the first page of another database
// with the same schema, because its tables begin at the same pages. A last page that was cut short is padded. So only
// rows on damaged pages are lost. The copy is for reading only.
func openRescueCopy(ctx context.Context, path, other string, schema Schema) (c *Conn, err error) {
	copyPath := path + rescueSuffix
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := copyFile(path+suffix, copyPath+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	first, err := firstPage(other)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(copyPath, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate((info.Size() + PageSize - 1) / PageSize * PageSize)
	}
	if err == nil {
		_, err = f.WriteAt(first, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return Open(ctx, copyPath, schema)
}

// firstPage returns the first page of a database, changed so that it fits a database with another number of pages.
func firstPage(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page := make([]byte, PageSize)
	if _, err := io.ReadFull(f, page); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(page[headerValidFor:], ^binary.BigEndian.Uint32(page[headerCounter:]))
	var sum checksum
	sum.add(page[:pageSum], binary.LittleEndian)
	binary.LittleEndian.PutUint32(page[pageSum:], sum[0])
	binary.LittleEndian.PutUint32(page[pageSum+4:], sum[1])
	return page, nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
