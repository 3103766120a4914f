package audit

import (
	"path/filepath"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
)

// sync puts on the disk what was written.
func (t *trail) sync() error {
	if t.file == nil {
		return nil
	}
	return t.file.Sync()
}

// noteLater is note while others are written: the lines up to now are synced and noted by another goroutine,
// which noting tells of. The lock is kept until noted is called.
func (t *trail) noteLater() error {
	if t.noting != nil || t.file == nil {
		return nil
	}
	at, end := t.at, t.end
	if err := t.acquire(); err != nil {
		return err
	}
	if _ = t.readHead(); t.lost {
		return t.write(nil)
	}
	if !t.altered { // or what was known before is what must not be forgotten
		at, end = t.at, t.end
	}
	if t.head.Seq >= at.Seq {
		return nil
	}
	file, done := t.file, make(chan error, 1)
	head := Head{Anchor: at, File: filepath.Base(t.path), Time: time.Now(), From: t.head.From, offset: end}
	t.noting, t.later = done, head
	go func() {
		err := file.Sync()
		if err == nil {
			err = writeHead(t.path, t.key, &head)
		}
		done <- err
	}()
	return nil
}

// noted takes what noting told.
func (t *trail) noted(err error) error {
	t.noting = nil
	if err != nil {
		return err
	}
	t.head, t.headAt = t.later, nil
	return t.readHead()
}

// settleNote waits for what noteLater began.
func (t *trail) settleNote() error {
	if t.noting == nil {
		return nil
	}
	return t.noted(<-t.noting)
}

// note syncs, and makes the last line the head if that is an earlier one.
func (t *trail) note() error {
	_ = t.settleNote() // this notes a later line, or the same
	if err := t.sync(); err != nil {
		return err
	}
	if err := t.readHead(); err == nil && t.head.Seq >= t.at.Seq {
		return nil
	}
	return t.writeHead(Head{Anchor: t.at, File: filepath.Base(t.path), offset: t.end, From: t.head.From})
}

// noteLocked is note for who may not hold the lock.
func (t *trail) noteLocked() error {
	if t.unlock != nil {
		return t.note()
	}
	unlock, err := durable.Lock(lockPath(t.path))
	if err != nil {
		return err
	}
	defer unlock()
	return t.note()
}

func (t *trail) writeHead(h Head) error {
	_ = t.settleNote() // this is a later one
	h.Time = time.Now()
	if err := writeHead(t.path, t.key, &h); err != nil {
		return err
	}
	t.head, t.headAt = h, nil
	return t.readHead()
}

// tellLost writes that the head is gone, where nothing else is to be written any more.
func (t *trail) tellLost() {
	if _ = t.readHead(); t.lost && t.acquire() == nil {
		_ = t.write(nil) // or it is seen by who opens the log next
	}
}
