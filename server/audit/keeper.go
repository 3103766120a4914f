package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
)

const syncInterval = time.Second

// keeper syncs a chain, writes its head and deletes its earlier files, in one goroutine beside the writer: no caller
// waits for it.
type keeper struct {
	*File
	head      head      // as it was written last
	sealed    []byte    // its file then
	reported  bool      // that it was lost, and it could not be written since
	told      time.Time // when heads were written to the server's log
	wakePrune chan struct{}
	stopping  chan struct{}
	stopped   chan struct{}
}

func newKeeper(f *File, known head) *keeper {
	k := &keeper{File: f, head: known, wakePrune: make(chan struct{}, 1), stopping: make(chan struct{}), stopped: make(chan struct{})}
	k.sealed, _ = readRegular(headPath(f.dir, known.Head.Chain), maxLine) // or note misses it
	k.learn()
	return k
}

func (k *keeper) run() {
	defer close(k.stopped)
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	k.tell()
	for {
		select {
		case <-ticker.C:
			_ = k.note() // or the next one succeeds
			k.learn()
			if time.Since(k.told) >= k.options.Heads {
				k.tell()
			}
		case <-k.wakePrune:
			if err := k.prune(); err != nil {
				k.options.Log.Error("the audit log's earlier files cannot be deleted", "error", err)
			}
		case <-k.stopping:
			_ = k.note() // Close notes what comes after this
			return
		}
	}
}

// rotated wakes the keeper after a new file was begun.
func (k *keeper) rotated() {
	if k.options.Keep == 0 {
		return
	}
	select {
	case k.wakePrune <- struct{}{}:
	default: // it has not looked since the last one
	}
}

// note syncs what was written, and makes the last line the head. If the head was taken away or changed, a line
// records that.
func (k *keeper) note() error {
	sealed, err := readRegular(headPath(k.dir, k.head.Head.Chain), maxLine)
	lost := err != nil || !bytes.Equal(sealed, k.sealed)
	if lost && !k.reported {
		k.reported = true
		k.headLost.Store(true)
		_ = k.submit(batch{}) // or the next line records it
	}
	k.mu.Lock()
	written := k.written
	k.mu.Unlock()
	if !lost && written.Head == k.head.Head {
		return nil
	}
	file, err := os.OpenFile(newLogFile(k.dir, written.Head.Chain, written.File).path, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(file.Sync(), file.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a file that was taken away is missed
		return err
	}
	k.head.Head, k.head.File, k.head.Offset = written.Head, written.File, written.Offset
	return k.writeHead()
}

func (k *keeper) writeHead() error {
	k.head.Time = time.Now().UTC().Format(timeLayout)
	sealed := k.key.seal(&k.head)
	if err := durable.Replace(headPath(k.dir, k.head.Head.Chain), sealed); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	k.sealed, k.reported = sealed, false
	return nil
}

// learn reads the heads of other chains. The next line names them: then a chain cannot be put back to an earlier state
// without the others.
func (k *keeper) learn() {
	all, err := k.Head()
	if err != nil {
		return // verify finds it
	}
	own := func(a Anchor) bool { return a.Chain == k.head.Head.Chain }
	text := Heads(slices.DeleteFunc(all.Heads, own)).String()
	if before := k.others.Load(); text != "" && (before == nil || *before != text) {
		k.others.Store(&text)
	}
}

// tell writes the heads to the server's log, from where they can be kept elsewhere.
func (k *keeper) tell() {
	if k.options.Heads == 0 {
		return
	}
	k.told = time.Now()
	if all, err := k.Head(); err == nil && len(all.Heads) > 0 {
		k.options.Log.Info("audit head", "head", all.Heads.String())
	}
}
