package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/internal/durable"
)

// SyncPolicy decides which events must be on the disk before Record returns. All other events are handed to the
// operating system before Record returns and are synced to the disk within about a second.
type SyncPolicy uint8

// The policies.
const (
	SyncNotable SyncPolicy = iota // all events except the ordinary use of keys and sessions
	SyncAll                       // all events
	SyncLater                     // no event: a power cut may lose the last second
)

// FailurePolicy decides what happens to an operation whose event cannot be recorded.
type FailurePolicy uint8

// The policies for failures.
const (
	Refuse   FailurePolicy = iota // Record returns ErrUnavailable, and the caller refuses the operation
	Continue                      // Record returns nil, and the server's log reports the failure
)

// Options configures a File. The zero value refuses operations that cannot be recorded, syncs all events but the
// ordinary use of keys and sessions, keeps all files, and never begins another file.
type Options struct {
	PlainContext []string // context keys whose values are written in clear text; none may identify a person
	Sync         SyncPolicy
	OnFailure    FailurePolicy
	Timeout      time.Duration      // longest time that Record waits; 0 means five seconds
	MaxSize      int64              // size in bytes at which another file begins; 0 means no limit
	MaxAge       time.Duration      // age of a file's first line at which another file begins; 0 means no limit
	Keep         int                // number of earlier files of each chain to keep; older ones are deleted; 0 keeps all files
	Budget       int64              // bytes of all files together; beyond it only administrative events are recorded; 0 means no limit
	Log          *slog.Logger       // reports when the log fails and when it works again; nil means slog.Default
	Mirror       func(lines []byte) // receives the lines that were written, in order; must neither block nor keep the slice; may be nil
	OnLost       func(events int)   // called with the number of events that were not recorded in time, whether or not they were refused; may be nil
	OnAltered    func()             // called when lines that were written are found to be missing or changed; may be nil
}

const defaultTimeout = 5 * time.Second

// File is a Recorder that appends to two chains of a log: the second chain has the events that retention never deletes.
// It is safe for concurrent use. Open returns a File, and Close ends its goroutines.
type File struct {
	dir     string
	logID   string // id of the log, from the list of chains
	key     *Key
	options Options
	chains  [2]*chain
	keeper  *headKeeper
	reserve *durable.Reserve
	release func() // releases the lock on the chains
	opened  time.Time

	queue              chan *request
	size               atomic.Int64  // bytes of all files: the last measurement plus the lines of this process since then
	alterationReported atomic.Bool   // an alteration was reported, and the head has not been seen intact since
	diskFailing        atomic.Bool   // the disk failed when the head keeper last read or synced files
	busySince          atomic.Int64  // when the writer began to write its group, in nanoseconds since opened; 0 while it waits
	writerDone         chan struct{} // closed when the writer has ended
	closeOnce          sync.Once

	mu     sync.RWMutex // held to close the queue; read-locked to send to it
	closed bool
}

var _ Recorder = (*File)(nil)

// Open opens the log in a directory for writing. It creates the directory and the log if they do not exist, readable by
// their owner only. It acquires the first pair of chains that no other process or File has locked, or adds a pair. It
// returns ErrHead if the list of chains or a head is missing or was not made with the key.
//
// Open starts two goroutines. The caller must call Close, which ends them.
func Open(dir string, key *Key, options Options) (*File, error) {
	f, err := open(dir, key, options, openDisk)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	go f.runWriter()
	go f.keeper.run()
	return f, nil
}

func open(dir string, key *Key, options Options, openDisk func(string) (disk, error)) (f *File, err error) {
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	f = &File{
		dir: dir, key: key, options: options, opened: time.Now(),
		queue: make(chan *request, maxQueued), writerDone: make(chan struct{}), reserve: durable.NewReserve(dir, durable.ReserveSize),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	list, first, release, err := acquireChains(dir, key, f.options.Log)
	if err != nil {
		return nil, err
	}
	h, err := readHead(dir, first, key, list.Log)
	for chain := first; chain <= first+1 && err == nil; chain++ {
		err = durable.RemoveTemporary(chainDir(dir, chain))
	}
	if err != nil {
		release()
		return nil, err
	}
	if err := f.measureSize(); err != nil {
		f.options.Log.Error("the size of the audit log cannot be measured", "error", err)
	}
	f.logID, f.release, f.keeper = list.Log, release, newHeadKeeper(f, h)
	f.reserve.Refill()
	for i, end := range h.Ends {
		f.chains[i] = &chain{chainReader: chainReader{lineMAC: key.newLineMAC()}, dir: dir, options: &f.options, reserve: f.reserve, open: openDisk}
		f.chains[i].published.Store(&end)
		if err := f.chains[i].recoverTail(end); err != nil { // the next event tries again, and is refused if that fails
			f.options.Log.Error("the end of the audit log cannot be recovered", "error", err)
		}
	}
	return f, nil
}

// Record implements Recorder. It ignores the cancellation of its context: an operation that was done is recorded even
// if its client has disconnected.
func (f *File) Record(_ context.Context, events ...Event) error {
	events, err := f.admitEvents(events)
	if err != nil {
		return err
	}
	r := f.newRequest(events)
	n := r.events
	if n == 0 {
		return nil
	}
	if err := f.submit(r); err != nil {
		return f.countLost(n, err)
	}
	return nil
}

// countLost reports events that are not recorded. It returns err if the policy refuses their operation, or else nil.
func (f *File) countLost(events int, err error) error {
	if f.options.OnLost != nil {
		f.options.OnLost(events)
	}
	if f.options.OnFailure == Continue {
		return nil
	}
	return err
}

// Ready checks that events can be recorded. It returns nil if the log's list of chains is intact, the budget is not
// used up, the last write succeeded or a write succeeds now, and the disk accepts a new file or a reserve is left. It
// is needed because a log without events would not notice a failure. Ready writes to the log only if the last write
// failed, or if lines are missing or changed.
func (f *File) Ready(context.Context) error {
	if f.usage() >= usageFull {
		return errBudget
	}
	if f.diskFailing.Load() {
		return fmt.Errorf("%w: its files cannot be read or synced", ErrUnavailable)
	}
	if list, err := readChainList(f.dir, f.key); err != nil || list.Log != f.logID {
		return fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(ErrHead, err))
	}
	r := f.newRequest(nil)
	r.check = true
	if err := f.submit(r); err != nil {
		return err
	}
	if err := f.probe(); err != nil && !(durable.IsFull(err) && f.reserve.Size() > 0) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// probe creates a file beside the log and removes it.
func (f *File) probe() error {
	file, err := os.CreateTemp(f.dir, ".ready-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString("x")
	return errors.Join(err, file.Close(), os.Remove(file.Name()))
}

// Close writes and syncs all queued events, updates the heads and releases the chains. Later calls of Record return
// ErrUnavailable. It always returns nil; failures are written to the server's log. Calling it again does nothing.
func (f *File) Close() error {
	f.closeOnce.Do(func() {
		f.keeper.stop() // while the writer still runs, so that it can record an alteration that the head keeper finds
		f.mu.Lock()
		f.closed = true
		close(f.queue)
		f.mu.Unlock()
		<-f.writerDone
		err := f.keeper.updateHead()
		for _, c := range f.chains {
			err = errors.Join(err, c.close())
		}
		if err != nil {
			f.options.Log.Error("closing the audit log failed", "error", err)
		}
		f.keeper.publishHead()
		f.release()
	})
	return nil
}
