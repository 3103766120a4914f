package audit

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
)

// expired is an earlier file that is to be deleted.
type expired struct {
	path string
	last Anchor
}

// rotate begins a new file where the present one is full or old, and gives what is to be deleted then. A log
// that cannot be rotated is written on.
func (t *trail) rotate(more int) []expired {
	o := t.options
	full := o.MaxSize > 0 && t.size+int64(more) > o.MaxSize
	old := o.MaxAge > 0 && !t.began.IsZero() && time.Since(t.began) > o.MaxAge
	if !full && !old || t.size == 0 || t.end != t.size || t.altered {
		return nil
	}
	if err := t.moveAway(); err != nil {
		o.Log.Error("the audit log cannot be rotated", "error", err)
		return nil
	}
	list, err := t.expired()
	if err != nil {
		o.Log.Error("the audit log's earlier files cannot be deleted", "error", err)
	}
	return list
}

// moveAway gives the present file the name of its last line, and begins another. The head says so before and
// after, so that a kill in between is seen as what it is.
func (t *trail) moveAway() error {
	if err := t.note(); err != nil {
		return err
	}
	to := archivePath(t.path, t.at.Seq)
	if _, err := os.Lstat(to); err == nil {
		return errors.New("audit: " + to + " is there already")
	}
	if err := durable.Rename(t.path, to); err != nil {
		return err
	}
	if err := t.reopen(); err != nil {
		return err
	}
	t.size, t.end = t.info.Size(), 0
	return t.writeHead(Head{Anchor: t.at, File: filepath.Base(t.path), From: t.head.From})
}

// expired lists the earlier files beyond those that are kept. One that the next file does not follow is kept,
// and so is all behind it: it is evidence, as is one of before what is kept, but for the one that a kill
// left.
func (t *trail) expired() (list []expired, err error) {
	all, err := archives(t.path)
	if err != nil || t.options.Keep == 0 {
		return nil, err
	}
	from := t.head.From
	all = slices.DeleteFunc(all, func(a archive) bool {
		last, err := lastAnchor(a.path)
		return a.last <= from.Seq && (err != nil || last != from)
	})
	for i := 0; len(all)-i > t.options.Keep; i++ {
		last, err := lastAnchor(all[i].path)
		if err != nil {
			return list, err
		}
		first, err := firstLink(all[i+1].path)
		if err != nil {
			return list, err
		}
		if !t.chain.follows(last, first) {
			return list, errors.New("audit: " + all[i+1].path + " does not follow " + all[i].path)
		}
		list = append(list, expired{all[i].path, last})
	}
	return list, nil
}

// drop deletes files whose last line the head tells from then on.
func (t *trail) drop(list []expired) {
	for _, e := range list {
		err := t.sync()
		if err == nil && e.last.Seq > t.head.From.Seq {
			err = t.writeHead(Head{Anchor: t.at, File: filepath.Base(t.path), offset: t.end, From: e.last})
		}
		if err == nil {
			err = durable.Remove(e.path)
		}
		if err != nil {
			t.options.Log.Error("the audit log's earlier files cannot be deleted", "error", err)
			return
		}
	}
}

var errNoLine = errors.New("audit: not a line of the log where one must be")

// lastAnchor is the last line of a file, as it stands there.
func lastAnchor(path string) (Anchor, error) {
	file, info, err := openRegular(path)
	if err != nil {
		return Anchor{}, err
	}
	defer file.Close()
	backward := newBackward(file, info.Size())
	line, _, err := backward.next() // which ends the file, as a line does
	if err != nil && !errors.Is(err, io.EOF) {
		return Anchor{}, err
	}
	if l, ok := parseLink(line); ok {
		return l.Anchor, nil
	}
	return Anchor{}, errNoLine
}

// firstLink is the first line of a file, as it stands there.
func firstLink(path string) (link, error) {
	file, _, err := openRegular(path)
	if err != nil {
		return link{}, err
	}
	defer file.Close()
	p, err := newPieces(file).next()
	if err != nil && !errors.Is(err, io.EOF) {
		return link{}, err
	}
	if l, ok := parseLink(p.line()); ok && p.whole {
		return l, nil
	}
	return link{}, errNoLine
}
