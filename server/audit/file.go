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

// Sync says which events must be on the disk, and not only with the operating system, before Record returns.
type SyncPolicy uint8

// The policies. All other lines are synced within a second.
const (
	SyncNotable SyncPolicy = iota // all but the ordinary use of keys and sessions
	SyncAll                       // everything
	SyncLater                     // nothing: a power cut may lose the last second
)

// OnFailure decides about an operation if its event cannot be recorded.
type FailurePolicy uint8

// The choices.
const (
	Refuse   FailurePolicy = iota // it is refused, with ErrUnavailable
	Continue                      // it goes on unrecorded, and the server's log says so
)

// Options configures a File. The zero value is the strictest that keeps up with a cache, and never begins
// another file.
type Options struct {
	PlainContext []string // keys of contexts whose values are written as they are; none may name a person
	Sync         SyncPolicy
	OnFailure    FailurePolicy
	Timeout      time.Duration      // the longest that Record waits; zero means five seconds
	MaxSize      int64              // bytes of a file, before another one is begun; zero means no limit
	MaxAge       time.Duration      // age of a file's first line, before another one is begun; zero means no limit
	Keep         int                // earlier files of each chain; others are deleted. Zero keeps all
	Budget       int64              // bytes of all files together, beyond which only administration is recorded; zero means no limit
	Log          *slog.Logger       // receives failures of the log, and their end
	Mirror       func(lines []byte) // receives the lines that were written, in order; it neither waits nor keeps the bytes; may be nil
	OnLost       func(events int)   // called with events that were not recorded in time, whether they were refused or not; may be nil
	OnAltered    func()             // called if lines that were written are missing or changed; may be nil
}

const defaultTimeout = 5 * time.Second

// File is a Recorder that writes two chains of a log: the second one has the events that outlive retention.
type File struct {
	dir     string
	log     string // as the list of chains names it
	key     *Key
	options Options
	chains  [2]*chain
	keeper  *keeper
	reserve *durable.Reserve
	release func() // of the chains
	opened  time.Time

	queue     chan *request
	size      atomic.Int64  // bytes of all files: as measured last, plus the lines of this process since then
	alarmed   atomic.Bool   // it was reported that the log was altered, and its head has not been seen whole since
	diskFails atomic.Bool   // the disk failed when the keeper read or synced files last
	busy      atomic.Int64  // how long after opened the writer took the group that it writes; 0 if it waits
	ended     chan struct{} // closed when the writer ended
	closeOnce sync.Once

	mu     sync.RWMutex // held to close the queue, and shared to send to it
	closed bool
}

var _ Recorder = (*File)(nil)

// Open begins to write to the log in a directory, or makes one that its owner alone can read. It acquires the first
// chains that no other process or File holds, or begins others. A torn end stays as it is.
// Open returns ErrHead. Call Close, which ends its goroutines.
func Open(dir string, key *Key, options Options) (*File, error) {
	f, err := open(dir, key, options, openDisk)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	go f.write()
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
		queue: make(chan *request, maxQueued), ended: make(chan struct{}), reserve: durable.NewReserve(dir, durable.ReserveSize),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	list, first, release, err := claim(dir, key, f.options.Log)
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
	if err := f.measure(); err != nil {
		f.options.Log.Error("the size of the audit log cannot be measured", "error", err)
	}
	f.log, f.release, f.keeper = list.Log, release, newKeeper(f, h)
	f.reserve.Refill()
	for i, end := range h.Ends {
		f.chains[i] = &chain{reader: reader{linker: key.newLinker()}, dir: dir, options: &f.options, reserve: f.reserve, open: openDisk}
		f.chains[i].last.Store(&end)
		if err := f.chains[i].recover(end); err != nil { // the next event tries again, and is refused if it fails
			f.options.Log.Error("the audit log cannot be continued", "error", err)
		}
	}
	return f, nil
}

// Record implements Recorder. The cancellation of its context does not stop it: an operation that was done is recorded
// even if its client left.
func (f *File) Record(_ context.Context, events ...Event) error {
	events, err := f.fit(events)
	if err != nil {
		return err
	}
	r := f.newRequest(events)
	n := r.events
	if n == 0 {
		return nil
	}
	if err := f.submit(r); err != nil {
		return f.lose(n, err)
	}
	return nil
}

// lose counts events that are not recorded, and returns err if their operation is refused because of that.
func (f *File) lose(events int, err error) error {
	if f.options.OnLost != nil {
		f.options.OnLost(events)
	}
	if f.options.OnFailure == Continue {
		return nil
	}
	return err
}

// Ready returns nil if readers find the log, its budget is not used up, the last write succeeded or a write succeeds now, and the disk
// takes a file or there is a reserve: a log without events would not notice. It writes to the log only if the last write failed, or if
// lines that were written are missing or changed.
func (f *File) Ready(context.Context) error {
	if f.used() >= full {
		return errBudget
	}
	if f.diskFails.Load() {
		return fmt.Errorf("%w: its files cannot be read or synced", ErrUnavailable)
	}
	if list, err := readList(f.dir, f.key); err != nil || list.Log != f.log {
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

// probe writes a file beside the log and removes it.
func (f *File) probe() error {
	file, err := os.CreateTemp(f.dir, ".ready-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString("x")
	return errors.Join(err, file.Close(), os.Remove(file.Name()))
}

// Close writes and syncs what waits, updates the heads, and releases the chains. Later events are ErrUnavailable.
func (f *File) Close() error {
	f.closeOnce.Do(func() {
		f.keeper.stop() // while a line can still record what it finds
		f.mu.Lock()
		f.closed = true
		close(f.queue)
		f.mu.Unlock()
		<-f.ended
		err := f.keeper.note()
		for _, c := range f.chains {
			err = errors.Join(err, c.close())
		}
		if err != nil {
			f.options.Log.Error("the audit log was not closed", "error", err)
		}
		f.keeper.tell()
		f.release()
	})
	return nil
}
