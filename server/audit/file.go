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

	"github.com/coffer-storage/coffer/shared/classify"
)

// Sync says which events must be on the disk, and not only with the operating system, before Record returns.
type Sync uint8

// The policies. All other lines are synced within a second.
const (
	SyncNotable Sync = iota // all but the ordinary use of keys and sessions
	SyncAll                 // everything
	SyncLater               // nothing: a power cut may lose the last second
)

// OnFailure decides about an operation if its event cannot be recorded.
type OnFailure uint8

// The choices.
const (
	Refuse   OnFailure = iota // it is refused, with ErrUnavailable
	Continue                  // it goes on unrecorded, and the server's log says so
)

// Options configures a File. The zero value is the strictest that keeps up with a cache, and never begins
// another file.
type Options struct {
	Allow     []string       // keys of contexts whose values are written as they are; none may name a person
	Least     classify.Class // ordinary use of keys of lower classes is not recorded; zero means classify.Confidential
	Sync      Sync
	OnFailure OnFailure
	Timeout   time.Duration      // the longest that Record waits; zero means five seconds
	MaxSize   int64              // bytes of a file, before another one is begun; zero means no limit
	MaxAge    time.Duration      // age of a file's first line, before another one is begun; zero means no limit
	Keep      int                // earlier files of each chain; others are deleted. Zero keeps all
	Log       *slog.Logger       // receives failures of the log, and their end
	Heads     time.Duration      // how often the head is written to Log, besides at start and stop; zero means not at all
	Copy      func(lines []byte) // receives the lines that were written, in order; it neither waits nor keeps the bytes; may be nil
	OnLost    func(events int)   // called with events that were not recorded in time, whether they were refused or not; may be nil
	OnAltered func()             // called if lines that were written are missing or changed; may be nil
}

const (
	defaultTimeout = 5 * time.Second
	keptBuffer     = 1 << 20 // bytes up to which a buffer is used again
	ordinary       = 1 << 10 // bytes that most batches have at most
)

// File is a Recorder that writes a chain of a log.
type File struct {
	dir     string
	key     *Key
	options Options
	chain   *chain
	keeper  *keeper
	release func() // of the chain

	wake     chan struct{}          // wakes the writer for a group; closed behind the last
	ended    chan struct{}          // closed when the writer ended
	others   atomic.Pointer[string] // heads of other chains, for a line to name
	headLost atomic.Bool            // for a line to record

	mu        sync.Mutex
	gathering *group // that the writer takes next; nil if no caller waits
	spare     []byte // that the next group begins with
	written   head   // the last line that was written
	closed    bool
	closeOnce sync.Once
}

var _ Recorder = (*File)(nil)

// Open begins to write to the log in a directory, or makes one that its owner alone can read. It acquires the first
// chain that no other process or File holds, or begins another. A torn end stays as it is; the next line records it.
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

func open(dir string, key *Key, options Options, openDisk func(string) (disk, error)) (*File, error) {
	if options.Least == 0 {
		options.Least = classify.Confidential
	}
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	f := &File{dir: dir, key: key, options: options, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	f.chain = &chain{linker: key.newLinker(), dir: dir, options: &f.options, open: openDisk}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	known, release, err := claim(dir, key, f.options.Log)
	if err != nil {
		return nil, err
	}
	if err := f.chain.find(known); err != nil {
		release()
		return nil, err
	}
	f.release, f.written = release, f.chain.head()
	f.keeper = newKeeper(f, known)
	return f, nil
}

// Record implements Recorder. The cancellation of its context does not stop it: an operation that was done is recorded
// even if its client left.
func (f *File) Record(_ context.Context, events ...Event) error {
	b := f.batch(make([]byte, 0, ordinary), events)
	if b.events == 0 {
		return nil
	}
	err := f.submit(b)
	if err != nil && f.options.OnLost != nil {
		f.options.OnLost(b.events)
	}
	if err != nil && f.options.OnFailure == Continue {
		return nil
	}
	return err
}

// batch appends the events that are to be recorded to dst, and decides whether they must be synced.
func (f *File) batch(dst []byte, events []Event) batch {
	b := batch{objects: dst}
	for i := range events {
		e := &events[i]
		if e.Action.ordinary() && e.Code == "" && e.Class.Valid() && e.Class < f.options.Least {
			continue
		}
		b.objects = f.appendObject(b.objects, e)
		b.events++
		b.sync = b.sync || f.options.Sync == SyncAll || f.options.Sync == SyncNotable && e.Severity() != Info
	}
	return b
}

// submit waits until the writer has written a batch.
func (f *File) submit(b batch) error {
	g, err := f.join(b)
	if err != nil {
		return err
	}
	<-g.done
	return g.err
}

// Ready returns nil if the last write succeeded, or a write succeeds now. It writes only if the last one failed.
func (f *File) Ready(context.Context) error { return f.submit(batch{}) }

// Head reads the heads of all chains. It returns ErrHead.
func (f *File) Head() (Head, error) { return ReadHead(f.dir, f.key) }

// Close writes and syncs what waits, updates the head, and releases the chain. Later events are ErrUnavailable.
func (f *File) Close() error {
	f.closeOnce.Do(func() {
		close(f.keeper.stopping) // while a line can still record what it finds
		<-f.keeper.stopped
		f.mu.Lock()
		f.closed = true
		close(f.wake)
		f.mu.Unlock()
		<-f.ended
		if err := errors.Join(f.keeper.note(), f.chain.file.Close()); err != nil {
			f.options.Log.Error("the audit log was not closed", "error", err)
		}
		f.keeper.tell()
		f.release()
	})
	return nil
}
