package token

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
)

const (
	// lookInterval is how often a server looks for changes.
	lookInterval = time.Second
	// Propagation is the time in which running servers see a change, unless they are cut off from the keystore.
	PropagationTime = 2 * time.Second
	lookTimeout     = 10 * time.Second
	// staleAfter is the time without a complete look after which Ready fails.
	staleAfter = 5 * time.Second
	// scanInterval is about how often all documents are read although the feed does not mention them: somebody who edits the store can
	// change them without an entry in the feed.
	scanInterval = 5 * time.Minute
	// retryAfter is how many looks pass before documents that could not be read are read again.
	retryAfter = 10
	readAtOnce = 500
)

// freshness is the last complete look.
type freshness struct {
	at  time.Time
	err error // of the last look
}

// Ready returns an error if the tokens in memory are stale: the keystore cannot be read, or some documents cannot. Tokens that are
// known still work.
func (t *Authenticator) Ready(context.Context) error {
	f := t.fresh.Load()
	if age := time.Since(f.at); age > staleAfter {
		return fmt.Errorf("token: the tokens in memory are %s old: %w", age.Round(time.Second), errors.Join(f.err, errStale))
	}
	return nil
}

var errStale = errors.New("changes of tokens are not seen")

// follower is how far the keystore was read. One goroutine uses it.
type follower struct {
	position keystore.Position
	pending  map[string]bool // documents to read, since they changed
	lost     map[string]bool // documents to read, since a scan did not find them
	failed   map[string]bool // documents that could not be read
	looks    int             // since failed was retried

	scan     uint64 // the number of scans
	scanning bool
	whole    bool   // the scan must end before tokens are up to date
	after    string // where its next page begins
	next     time.Time
}

// follow looks for changes until ctx ends.
func (t *Authenticator) follow(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.lookInTime(ctx)
		}
	}
}

func (t *Authenticator) lookInTime(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	_ = t.look(ctx) // Ready reports it
}

// look reads what changed.
func (t *Authenticator) look(ctx context.Context) error {
	f := &t.follower
	err := t.readFeed(ctx)
	if err == nil {
		err = t.scanSome(ctx)
	}
	if f.looks++; f.looks%retryAfter == 0 {
		maps.Copy(f.pending, f.failed)
		clear(f.failed)
	}
	if err == nil {
		err = t.readAll(ctx, f.pending, time.Time{})
	}
	if err == nil { // writing many documents again must not hold up changes
		err = t.readAll(ctx, f.lost, time.Now().Add(lookInterval))
	}
	t.endReports(ctx)
	if err == nil && len(f.failed) > 0 {
		t.setFresh(ctx, fmt.Errorf("%d documents cannot be read", len(f.failed)))
		return nil
	}
	t.setFresh(ctx, err)
	return err
}

func (t *Authenticator) setFresh(ctx context.Context, err error) {
	was := t.fresh.Load()
	now := &freshness{at: time.Now(), err: err}
	if err != nil && was != nil {
		now.at = was.at
	}
	t.fresh.Store(now)
	if err != nil && (was == nil || was.err == nil) && !errors.Is(ctx.Err(), context.Canceled) {
		t.options.Log.WarnContext(ctx, "changes of tokens cannot be followed now; known tokens still work", "error", err)
	}
}

// readFeed notes which documents changed. If the feed does not reach back, all documents are read.
func (t *Authenticator) readFeed(ctx context.Context) error {
	f := &t.follower
	for {
		changes, next, err := t.store.Changes(ctx, f.position)
		if errors.Is(err, keystore.ErrFeedLost) {
			f.position = ""
			continue
		}
		if err != nil {
			return err
		}
		if f.position == "" {
			f.scanning, f.whole, f.after = true, true, ""
			f.scan++
		}
		f.position = next
		if f.position != "" && len(changes) == 0 {
			return nil
		}
		for _, c := range changes {
			if c.Kind == keystore.Tokens {
				f.pending[c.Name] = true
				delete(f.failed, c.Name)
			}
		}
	}
}

// scanSome reads the next page of the documents, or all pages if what is known is incomplete.
func (t *Authenticator) scanSome(ctx context.Context) error {
	f := &t.follower
	if !f.scanning && time.Now().After(f.next) {
		f.scanning, f.after = true, ""
		f.scan++
	}
	for f.scanning {
		documents, next, err := t.store.Page(ctx, keystore.Tokens, f.after, readAtOnce)
		if err != nil {
			return err
		}
		for _, d := range documents {
			t.takeOrRetry(ctx, d)
			t.seen(d.Name)
		}
		if f.after = next; next == "" {
			t.endScan()
		}
		if !f.whole {
			break
		}
	}
	return ctx.Err()
}

// seen notes that the scan found a document.
func (t *Authenticator) seen(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.byID[name]; k != nil {
		k.scan = t.follower.scan
	}
}

// endScan notes which documents the scan did not find.
func (t *Authenticator) endScan() {
	f := &t.follower
	f.scanning, f.whole = false, false
	f.next = time.Now().Add(jittered(scanInterval))
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, k := range t.byID {
		if k.scan != f.scan {
			f.lost[name] = true
		}
	}
}

// readAll reads documents until a time, and removes them from the set.
func (t *Authenticator) readAll(ctx context.Context, names map[string]bool, until time.Time) error {
	for len(names) > 0 {
		if !until.IsZero() && time.Now().After(until) {
			return nil
		}
		some := make([]string, 0, readAtOnce)
		for name := range names {
			if some = append(some, name); len(some) == cap(some) {
				break
			}
		}
		for _, d := range keystore.GetMany(ctx, t.store, keystore.Tokens, some) {
			if err := ctx.Err(); err != nil {
				return err
			}
			t.takeOrRetry(ctx, d)
			delete(names, d.Name)
		}
	}
	return nil
}

// takeOrRetry takes a document, or notes that it must be read again.
func (t *Authenticator) takeOrRetry(ctx context.Context, d keystore.Document) {
	err := d.Err
	if err == nil {
		err = t.take(ctx, d.Name, d.Content)
	}
	if err != nil {
		t.follower.failed[d.Name] = true
	} else {
		delete(t.follower.failed, d.Name)
	}
}
