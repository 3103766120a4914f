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
	headInterval = 10 * time.Minute // how often the heads are written to the server's log, from which they can be collected and kept elsewhere
)

// headKeeper syncs the chains of a process, writes their head, and deletes files beyond the retention limit. It runs in
// a goroutine beside the writer, so callers of Record do not wait for it.
type headKeeper struct {
	*File
	head               head          // as it was last written
	alterationRecorded bool          // the head is missing or changed, a line records that, and the head has not been rewritten yet
	failing            bool          // the last update failed
	lastMeasured       time.Time     // when the size of the log was last measured
	lastUsage          budgetUsage   // usage of the budget when it was last measured
	lastPublished      time.Time     // when the heads were last written to the server's log
	wake               chan struct{} // requests pruning
	stopping           chan struct{}
	stopped            chan struct{}
}

func newHeadKeeper(f *File, h head) *headKeeper {
	return &headKeeper{File: f, head: h, wake: make(chan struct{}, 1), stopping: make(chan struct{}), stopped: make(chan struct{})}
}

func (k *headKeeper) run() {
	defer close(k.stopped)
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	k.publishHead()
	k.wakeUp() // files beyond the retention limit are also deleted at the start
	for {
		select {
		case <-ticker.C:
			k.updateHeadAndLog()
			k.watchBudget()
			k.reserve.Refill()
			if time.Since(k.lastPublished) >= headInterval {
				k.publishHead()
			}
		case <-k.wake:
			if err := k.prune(); err != nil {
				k.options.Log.Error("earlier files of the audit log cannot be deleted", "error", err)
			}
			k.lastMeasured = time.Time{}
		case <-k.stopping:
			k.updateHeadAndLog() // Close updates the head again after the last lines
			return
		}
	}
}

func (k *headKeeper) stop() {
	close(k.stopping)
	<-k.stopped
}

// wakeUp requests pruning after the writer began a new file.
func (k *headKeeper) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default: // an earlier request is still pending
	}
}

func (k *headKeeper) publishHead() {
	k.lastPublished = time.Now()
	if all, err := ReadHeads(k.dir, k.key); err == nil && len(all.Heads) > 0 {
		k.options.Log.Info("audit head", "head", all.Heads.String())
	}
}

// updateHeadAndLog updates the head. It writes to the server's log when updating begins to fail; the next tick tries
// again.
func (k *headKeeper) updateHeadAndLog() {
	err := k.updateHead()
	if err != nil && !k.failing {
		k.options.Log.Error("the audit log cannot be synced, or its head cannot be read or written", "error", err)
	}
	k.failing = err != nil
	k.diskFailing.Store(isReadFailure(err))
}

// isReadFailure reports whether a file could not be read because file descriptors or memory ran out, or because the
// disk failed. Such an error does not prove an alteration.
func isReadFailure(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.ETIMEDOUT}, func(one error) bool {
		return errors.Is(err, one)
	})
}

// updateHead syncs the lines that were written, and then makes the last of them the head. The order matters: the head
// may only name lines that are on the disk. If the head file is missing or changed, updateHead first records that in
// the log, and then rewrites the head, so that the rewrite does not hide the alteration.
func (k *headKeeper) updateHead() error {
	// Taken before the head file is read: if someone changes the file afterwards, the next update must still find that.
	h := k.currentHead()
	now, err := readHead(k.dir, k.head.Start.Chain, k.key, k.head.Log)
	if isReadFailure(err) {
		return err
	}
	missing := err != nil || now != k.head
	if missing && !k.alterationRecorded {
		r := k.newRequest([]Event{*alteredEvent(k.head.Ends[0].Last)})
		r.check = true // lines that are missing as well have the same cause, and are reported once
		if err := k.submit(r); err != nil {
			return err
		}
		k.reportAltered()
		if err := os.MkdirAll(chainDir(k.dir, k.head.Start.Chain), 0o700); err != nil { // the directory may have been removed
			return err
		}
		h = k.currentHead()
	}
	if k.alterationRecorded = missing; !missing {
		k.alterationReported.Store(false)
	}
	for i, end := range h.Ends {
		if end != k.head.Ends[i] {
			err := syncFile(newLogFile(k.dir, end.Last.Chain, end.File).path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // the writer reports a missing file
				return err
			}
		}
	}
	if !missing && h == k.head {
		return nil
	}
	return k.writeHead(h)
}

// currentHead returns the head with the present ends of the chains.
func (k *headKeeper) currentHead() head {
	h := k.head
	for i, c := range k.chains {
		h.Ends[i] = c.publishedEnd()
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

func (k *headKeeper) writeHead(h head) error {
	h.Time = time.Now().UTC().Format(timeLayout)
	err := k.reserve.RetryIfFull(func() error { return writeAuthenticated(headPath(k.dir, h.Start.Chain), k.key, &h) })
	if err != nil {
		return err
	}
	k.head, k.alterationRecorded = h, false
	return nil
}

// prune deletes the oldest files of the first chain until at most options.Keep earlier files are left.
func (k *headKeeper) prune() error {
	if k.options.Keep == 0 {
		return nil
	}
	if err := k.updateHead(); err != nil { // the head must name lines behind the deleted ones
		return err
	}
	_ = os.Remove(newLogFile(k.dir, k.head.Start.Chain, k.head.LastPruned).path) // a kill may have left it
	files, err := listFiles(k.dir, k.head.Start.Chain, k.head.LastPruned+1)
	for ; len(files)-1 > k.options.Keep && err == nil; files = files[1:] {
		err = k.pruneFile(files[0], files[1])
	}
	return err
}

// pruneFile deletes a file. First it records the deletion in the log, then it moves the start of the chain in the head,
// and only then it removes the file. After a kill in between, Verify accepts the file as a leftover. pruneFile keeps a
// file that was altered, or that the next file does not continue, because it is evidence.
func (k *headKeeper) pruneFile(file, next logFile) error {
	r := chainReader{k.key.newLineMAC(), k.head.Start}
	e, err := r.readFile(context.Background(), file, 0, func([]byte) {})
	if err == nil && e != nil && !e.cutShort {
		err = ErrAltered
	}
	if err != nil {
		return fmt.Errorf("audit: %s was altered: run coffer audit verify: %w", file.path, err)
	}
	first, err := firstLine(next)
	if l, ok := parseChainedLine(first.Text); err != nil || !ok || !r.isNext(r.last, l) {
		return fmt.Errorf("audit: %s does not continue %s: run coffer audit verify: %w", next.path, file.path, errors.Join(ErrAltered, err))
	}
	pruned := Event{Action: auditPruned, Facts: Facts{FactTo: strconv.FormatUint(r.last.Seq, 10)}}
	if err := k.submit(k.newRequest([]Event{pruned})); err != nil {
		return err
	}
	h := k.head
	h.Start, h.LastPruned = r.last, file.number
	if err := k.writeHead(h); err != nil {
		return err
	}
	return durable.Remove(file.path)
}
