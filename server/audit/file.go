package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Sync says what must be on the disk, and not only with the operating system, before Record returns.
type Sync uint8

// The policies. What is not synced at once is within a second.
const (
	SyncNotable Sync = iota // all but the ordinary use of keys and sessions
	SyncAll                 // everything
	SyncLater               // nothing: a power cut may lose the last second
)

// OnFailure says what becomes of an operation whose event cannot be recorded.
type OnFailure uint8

// The choices.
const (
	Refuse   OnFailure = iota // it is refused, with ErrUnavailable
	Continue                  // it goes on unrecorded, and the server's log says so
)

// Options is how a File records. The zero Options is the strictest that keeps up with a cache, in one file
// that is never rotated.
type Options struct {
	Allow     []string       // keys of contexts whose values are written as they are; none may name a person
	Least     classify.Class // ordinary use of keys of lower classes is not recorded; zero is classify.Confidential
	Sync      Sync
	OnFailure OnFailure
	Timeout   time.Duration      // the longest that Record waits; zero is five seconds
	MaxSize   int64              // bytes of a file, before another one is begun; zero is any number
	MaxAge    time.Duration      // of a file's first line, before another one is begun; zero is any age
	Keep      int                // earlier files; others are deleted, and the head says so. Zero keeps all
	Log       *slog.Logger       // told when the log fails and when it works again
	Heads     time.Duration      // how often the head is told to Log, besides at the begin and the end; zero is not even then
	Copy      func(lines []byte) // given what was written, in its order; it neither waits nor keeps the bytes; may be nil
	OnLost    func(events int)   // called with events that were not recorded in time, be they refused or not; may be nil
	OnAltered func()             // called where lines that were written are missing or changed; may be nil
}

const (
	defaultTimeout = 5 * time.Second
	syncInterval   = time.Second
	keptBuffer     = 1 << 20 // bytes up to which a buffer is used again
	ordinary       = 1 << 10 // bytes that most batches have at most
)

// File is a Recorder over the files of a log. Several processes may write one log: a line is written by one
// call, under the log's lock, behind all others.
type File struct {
	path    string
	key     *Key
	options Options

	wake  chan struct{} // tells the writer of a group; closed behind the last
	ended chan struct{}

	mu        sync.Mutex
	gathering *group // that the writer takes next; nil where nobody waits
	spare     []byte // that the next group begins with
	closed    bool
}

var _ Recorder = (*File)(nil)

// Open opens the log, or makes one, that its owner alone can read, and begins to write. What a kill or a full
// disk left stays as it is; the next line tells of it. It returns ErrHead.
func Open(path string, key *Key, options Options) (*File, error) {
	return open(path, key, options, openDisk)
}

func open(path string, key *Key, options Options, openDisk func(string) (disk, error)) (*File, error) {
	if options.Least == 0 {
		options.Least = classify.Confidential
	}
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	f := &File{path: path, key: key, options: options, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	w := &writer{f: f, trail: &trail{path: path, key: key, chain: key.newChain(), options: &f.options, open: openDisk}}
	if err := w.trail.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("audit: open the log: %w", err), w.trail.close())
	}
	go w.run()
	return f, nil
}

// Record implements Recorder. The context's end does not cut it short: an operation that was done is recorded
// though its client left.
func (f *File) Record(_ context.Context, events ...Event) error {
	b := f.batch(make([]byte, 0, ordinary), events)
	if b.events == 0 {
		return nil
	}
	err := f.write(b)
	if err != nil && f.options.OnLost != nil {
		f.options.OnLost(b.events)
	}
	if err != nil && f.options.OnFailure == Continue {
		return nil
	}
	return err
}

// batch appends what is to be recorded to dst, and decides whether they must be synced.
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

// write has the writer write a batch, and waits for that.
func (f *File) write(b batch) error {
	g, err := f.join(b)
	if err != nil {
		return err
	}
	<-g.done
	return g.err
}

// Ready returns nil if the log could be written last, or can be now, for a check of readiness. It adds a line
// only where the log failed before.
func (f *File) Ready(context.Context) error { return f.write(batch{}) }

// Head reads the head as it is now. It returns ErrHead.
func (f *File) Head() (Head, error) { return ReadHead(f.path, f.key) }

// Close writes and syncs what waits, makes the last line the head, and ends. Later events are ErrUnavailable.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	close(f.wake)
	f.mu.Unlock()
	<-f.ended
	return nil
}
