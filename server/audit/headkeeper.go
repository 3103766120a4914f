package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/coffer-storage/coffer/internal/durable"
)

const (
	syncInterval = time.Second
	headInterval = 10 * time.Minute // how often the heads are written to the server's log, from where they can be kept elsewhere
)

// keeper syncs the chains of a process, writes their head and deletes earlier files, in one goroutine beside the
// writer: no caller waits for it.
type keeper struct {
	*File
	head     head          // as it was written last
	missed   bool          // a line records that it is lost, and it is not written again yet
	failing  bool          // the last note failed
	measured time.Time     // when the size was measured last
	use      usage         // of the budget, when it was last looked at
	told     time.Time     // when heads were written to the server's log
	wake     chan struct{} // for retention
	stopping chan struct{}
	stopped  chan struct{}
}

func newKeeper(f *File, h head) *keeper {
	return &keeper{File: f, head: h, wake: make(chan struct{}, 1), stopping: make(chan struct{}), stopped: make(chan struct{})}
}

func (k *keeper) run() {
	defer close(k.stopped)
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	k.tell()
	k.rotated() // files that are no longer kept go at the start, too
	for {
		select {
		case <-ticker.C:
			k.tryNote()
			k.watchBudget()
			k.reserve.Refill()
			if time.Since(k.told) >= headInterval {
				k.tell()
			}
		case <-k.wake:
			if err := k.prune(); err != nil {
				k.options.Log.Error("the audit log's earlier files cannot be deleted", "error", err)
			}
			k.measured = time.Time{}
		case <-k.stopping:
			k.tryNote() // Close notes what comes after this
			return
		}
	}
}

func (k *keeper) stop() {
	close(k.stopping)
	<-k.stopped
}

// rotated wakes the keeper after a new file was begun.
func (k *keeper) rotated() {
	select {
	case k.wake <- struct{}{}:
	default: // it has not looked since the last one
	}
}

func (k *keeper) tell() {
	k.told = time.Now()
	if all, err := ReadHeads(k.dir, k.key); err == nil && len(all.Heads) > 0 {
		k.options.Log.Info("audit head", "head", all.Heads.String())
	}
}

// tryNote notes, and writes to the server's log when that begins to fail: the next note tries again.
func (k *keeper) tryNote() {
	err := k.note()
	if err != nil && !k.failing {
		k.options.Log.Error("the audit log cannot be synced, or its head cannot be read or written", "error", err)
	}
	k.failing = err != nil
	k.diskFails.Store(provesNothing(err))
}

// provesNothing reports whether an error of reading does not mean that a file is not as it was written: file descriptors or memory ran
// out, or the disk failed.
func provesNothing(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.ETIMEDOUT}, func(one error) bool {
		return errors.Is(err, one)
	})
}

// note syncs what was written, and makes the last lines the head. If the head was taken away or changed, a line records
// that before it is written again.
func (k *keeper) note() error {
	h := k.ends() // before the head is read: lines that are written after that do not replace a head that was changed in the meantime
	now, err := readHead(k.dir, k.head.From.Chain, k.key, k.head.Log)
	if provesNothing(err) {
		return err
	}
	lost := err != nil || now != k.head
	if lost && !k.missed {
		r := k.newRequest([]Event{*alteredEvent(k.head.Ends[0].Last)})
		r.check = true // lines that went with the head have the same cause
		if err := k.submit(r); err != nil {
			return err
		}
		k.reportAltered()
		if err := os.MkdirAll(chainDir(k.dir, k.head.From.Chain), 0o700); err != nil { // which somebody may have taken away
			return err
		}
		h = k.ends()
	}
	if k.missed = lost; !lost {
		k.alarmed.Store(false)
	}
	for i, end := range h.Ends {
		if end != k.head.Ends[i] {
			err := syncFile(newLogFile(k.dir, end.Last.Chain, end.File).path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a file that was taken away is missed
				return err
			}
		}
	}
	if !lost && h == k.head {
		return nil
	}
	return k.writeHead(h)
}

// ends returns the head with the ends of the chains as they are now.
func (k *keeper) ends() head {
	h := k.head
	for i, c := range k.chains {
		h.Ends[i] = c.written()
	}
	return h
}

func syncFile(path string) error {
	file, err := durable.OpenRegular(path, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func (k *keeper) writeHead(h head) error {
	h.Time = time.Now().UTC().Format(timeLayout)
	err := k.reserve.RetryIfFull(func() error { return writeSealed(headPath(k.dir, h.From.Chain), k.key, &h) })
	if err != nil {
		return err
	}
	k.head, k.missed = h, false
	return nil
}

// prune deletes the earlier files of the first chain beyond those that are kept.
func (k *keeper) prune() error {
	if k.options.Keep == 0 {
		return nil
	}
	if err := k.note(); err != nil { // the head must be behind what is deleted
		return err
	}
	_ = os.Remove(newLogFile(k.dir, k.head.From.Chain, k.head.Pruned).path) // if a kill left it
	files, err := listFiles(k.dir, k.head.From.Chain, k.head.Pruned+1)
	for ; len(files)-1 > k.options.Keep && err == nil; files = files[1:] {
		err = k.pruneFile(files[0], files[1])
	}
	return err
}

// pruneFile deletes a file. It keeps one that is not as it was written, or that the next one does not follow: that is
// evidence.
func (k *keeper) pruneFile(file, next logFile) error {
	r := reader{k.key.newLinker(), k.head.From}
	e, err := r.read(context.Background(), file, 0, func([]byte) {})
	if err == nil && e != nil && !e.cutShort {
		err = ErrAltered
	}
	if err != nil {
		return fmt.Errorf("audit: %s is not as it was written, run coffer audit verify: %w", file.path, err)
	}
	first, err := firstLine(next)
	if l, ok := parseLink(first.Text); err != nil || !ok || !r.follows(r.at, l) {
		return fmt.Errorf("audit: %s does not follow %s, run coffer audit verify: %w", next.path, file.path, errors.Join(ErrAltered, err))
	}
	pruned := Event{Action: auditPruned, Facts: Facts{FactTo: strconv.FormatUint(r.at.Seq, 10)}}
	if err := k.submit(k.newRequest([]Event{pruned})); err != nil {
		return err
	}
	h := k.head
	h.From, h.Pruned = r.at, file.number
	if err := k.writeHead(h); err != nil {
		return err
	}
	return durable.Remove(file.path)
}
