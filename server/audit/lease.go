package audit

import (
	"os"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
)

const (
	lease   = 5 * time.Millisecond   // how long the lock is kept at most where others write too, and where nothing is written
	turn    = 100 * time.Microsecond // how long it is left to others then, or they would hardly get it
	alone   = 200 * time.Millisecond // how long it is kept where no others are known, so that one that begins waits no longer
	company = time.Minute            // for how long others are reckoned with
)

// acquire takes the lock, unless it is held, and finds the last line.
func (t *trail) acquire() error {
	if t.unlock != nil {
		info, err := os.Stat(t.path)
		if err == nil && os.SameFile(info, t.info) && info.Size() == t.size {
			return nil
		}
		return t.settle() // somebody wrote, cut off or moved the file without the lock
	}
	if _, leave := t.term(); time.Since(t.freed) < leave {
		time.Sleep(leave)
	}
	unlock, err := durable.Lock(lockPath(t.path))
	if err != nil {
		return err
	}
	t.unlock, t.locked = unlock, time.Now()
	if err := t.settle(); err != nil {
		t.release()
		return err
	}
	return nil
}

// release gives the lock back, if it is held and no head is being written under it.
func (t *trail) release() {
	if t.unlock != nil && t.noting == nil {
		t.unlock()
		t.unlock, t.freed = nil, time.Now()
	}
}

// due reports whether the lock was kept for long enough.
func (t *trail) due() bool {
	keep, _ := t.term()
	return t.unlock != nil && time.Since(t.locked) >= keep
}

// term is how long the lock is kept at most, and then left to others.
func (t *trail) term() (keep, leave time.Duration) {
	if time.Since(t.met) < company {
		return lease, turn
	}
	return alone, 10 * turn // there is time to wake up, however busy the machine is
}
