package keystore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The index by due time of a Directory has a folder for each hour, with a marker for each document that is due
// then: due/KIND/HOUR/TIME-SHARD-FILE, which contains the document's name. A marker counts only if the document
// has the same due time: a killed writer can leave others.

const hour = int64(time.Hour / time.Millisecond)

func (d *Directory) dueFolder(kind Kind) string { return filepath.Join(d.path, dueName, string(kind)) }

func (d *Directory) marker(kind Kind, name string, due int64) string {
	folder, file := d.place(kind, name)
	return filepath.Join(d.dueFolder(kind), fmt.Sprintf("%012d", max(due, 0)/hour), fmt.Sprintf("%016d-%s-%s", max(due, 0), filepath.Base(folder), file))
}

// mark writes a marker if it is missing.
func (d *Directory) mark(kind Kind, name string, due int64) error {
	path := d.marker(kind, name, due)
	there, err := d.disk.exists(path)
	if err != nil || there {
		return err
	}
	if err := d.disk.makeAll(filepath.Dir(path)); err != nil {
		return err
	}
	return d.disk.replace(filepath.Join(d.path, writingName), path, []byte(name+"\n"))
}

func (d *Directory) unmark(kind Kind, name string, due int64) error {
	path := d.marker(kind, name, due)
	err := d.disk.remove(path)
	d.disk.removeIfEmpty(filepath.Dir(path))
	return err
}

// Due implements Store. It removes markers that no longer count. A document that cannot be read is due as long
// as its marker is there.
func (d *Directory) Due(ctx context.Context, kind Kind, until int64, limit int) (names []string, err error) {
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	hours, err := d.names(d.dueFolder(kind))
	if err != nil {
		return nil, err
	}
	for _, one := range hours {
		if n, err := strconv.ParseInt(one, 10, 64); err != nil || n > until/hour {
			break
		}
		folder := filepath.Join(d.dueFolder(kind), one)
		markers, err := d.names(folder)
		if err != nil {
			return nil, err
		}
		for _, marker := range markers {
			due, name, err := d.readMarker(kind, folder, marker)
			switch {
			case err != nil:
				return nil, err
			case due > until || len(names) == limit:
				return names, ctx.Err()
			case due >= 0:
				names = append(names, name)
			}
		}
		d.disk.removeIfEmpty(folder)
	}
	return names, ctx.Err()
}

// readMarker returns the due time and the name of the document that a marker belongs to, -1 if it no longer counts.
func (d *Directory) readMarker(kind Kind, folder, marker string) (due int64, name string, err error) {
	path := filepath.Join(folder, marker)
	when, place, _ := strings.Cut(marker, "-")
	shard, file, _ := strings.Cut(place, "-")
	if due, err = strconv.ParseInt(when, 10, 64); err != nil {
		return -1, "", d.disk.remove(path)
	}
	r, err := d.readFile(kind, shard, file)
	switch {
	case errors.Is(err, ErrUnavailable):
		content, err := d.disk.read(path, MaxName+1)
		return due, strings.TrimSuffix(string(content), "\n"), err
	case err != nil:
		return 0, "", err
	case r == nil || r.due != due:
		return -1, "", d.disk.remove(path)
	}
	return due, r.Name, nil
}
