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
	// pollInterval is how often a server polls the keystore for changes.
	pollInterval = time.Second
	// PropagationTime is the time in which running servers that can reach the keystore see a change.
	PropagationTime = 2 * time.Second
	pollTimeout     = 10 * time.Second
	// staleAfter is the time without a complete poll after which Ready fails.
	staleAfter = 5 * time.Second
	// scanInterval is about how often all documents are read. A scan finds changes that someone made in the store
	// without an entry in the change feed.
	scanInterval = 5 * time.Minute
	// retryAfterPolls is the number of polls after which documents that could not be read are read again.
	retryAfterPolls  = 10
	documentsPerRead = 500
)

// pollResult describes the last poll.
type pollResult struct {
	at  time.Time
	err error // of the last poll
}

// Ready returns an error if the tokens in memory may be outdated, because the keystore or some documents cannot be
// read. The tokens in memory are still accepted.
func (t *Authenticator) Ready(context.Context) error {
	f := t.lastPoll.Load()
	if age := time.Since(f.at); age > staleAfter {
		return fmt.Errorf("token: the tokens in memory are %s old: %w", age.Round(time.Second), errors.Join(f.err, errStale))
	}
	return nil
}

var errStale = errors.New("changes of tokens are not applied")

// follower is the state of following the keystore. Only one goroutine uses it.
type follower struct {
	position  keystore.Position
	pending   map[string]bool // documents to read because they changed
	unscanned map[string]bool // documents to read because a scan did not find them
	failed    map[string]bool // documents that could not be read
	polls     int             // number of polls

	scan           uint64 // number of the last scan
	scanning       bool
	mustFinishScan bool   // the tokens in memory are incomplete until the scan ends
	scanPosition   string // name after which the next page begins
	nextScan       time.Time
}

// follow polls for changes until ctx ends.
func (t *Authenticator) follow(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.pollWithTimeout(ctx)
		}
	}
}

func (t *Authenticator) pollWithTimeout(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	_ = t.poll(ctx) // Ready reports the error
}

// poll applies the changes since the last poll.
func (t *Authenticator) poll(ctx context.Context) error {
	f := &t.follower
	err := t.collectChanges(ctx)
	if err == nil {
		err = t.scanPages(ctx)
	}
	if f.polls++; f.polls%retryAfterPolls == 0 {
		maps.Copy(f.pending, f.failed)
		clear(f.failed)
	}
	if err == nil {
		err = t.readDocuments(ctx, f.pending, time.Time{})
	}
	if err == nil { // bounded, because writing many documents again must not delay changes
		err = t.readDocuments(ctx, f.unscanned, time.Now().Add(pollInterval))
	}
	t.reportOmitted(ctx)
	if err == nil && len(f.failed) > 0 {
		t.setLastPoll(ctx, fmt.Errorf("%d documents cannot be read", len(f.failed)))
		return nil
	}
	t.setLastPoll(ctx, err)
	return err
}

func (t *Authenticator) setLastPoll(ctx context.Context, err error) {
	was := t.lastPoll.Load()
	now := &pollResult{at: time.Now(), err: err}
	if err != nil && was != nil {
		now.at = was.at
	}
	t.lastPoll.Store(now)
	if err != nil && (was == nil || was.err == nil) && !errors.Is(ctx.Err(), context.Canceled) {
		t.options.Log.WarnContext(ctx, "changes of tokens cannot be read now; known tokens are still accepted", "error", err)
	}
}

// collectChanges adds the changed documents to those to read. If the feed does not reach back to the last poll, it
// starts a scan of all documents.
func (t *Authenticator) collectChanges(ctx context.Context) error {
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
			f.scanning, f.mustFinishScan, f.scanPosition = true, true, ""
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

// scanPages reads the next page of a scan, or all pages if the tokens in memory are incomplete.
func (t *Authenticator) scanPages(ctx context.Context) error {
	f := &t.follower
	if !f.scanning && time.Now().After(f.nextScan) {
		f.scanning, f.scanPosition = true, ""
		f.scan++
	}
	for f.scanning {
		documents, next, err := t.store.Page(ctx, keystore.Tokens, f.scanPosition, documentsPerRead)
		if err != nil {
			return err
		}
		for _, d := range documents {
			t.applyOrRetry(ctx, d)
			t.markScanned(d.Name)
		}
		if f.scanPosition = next; next == "" {
			t.endScan()
		}
		if !f.mustFinishScan {
			break
		}
	}
	return ctx.Err()
}

// markScanned marks a document as found by the scan.
func (t *Authenticator) markScanned(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.byID[name]; k != nil {
		k.lastScan = t.follower.scan
	}
}

// endScan ends a scan. Documents that the scan did not find are read once more.
func (t *Authenticator) endScan() {
	f := &t.follower
	f.scanning, f.mustFinishScan = false, false
	f.nextScan = time.Now().Add(jittered(scanInterval))
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, k := range t.byID {
		if k.lastScan != f.scan {
			f.unscanned[name] = true
		}
	}
}

// readDocuments reads and applies documents until a time, and removes them from the set. The zero time means no limit.
func (t *Authenticator) readDocuments(ctx context.Context, names map[string]bool, until time.Time) error {
	for len(names) > 0 {
		if !until.IsZero() && time.Now().After(until) {
			return nil
		}
		batch := make([]string, 0, documentsPerRead)
		for name := range names {
			if batch = append(batch, name); len(batch) == cap(batch) {
				break
			}
		}
		for _, d := range keystore.GetMany(ctx, t.store, keystore.Tokens, batch) {
			if err := ctx.Err(); err != nil {
				return err
			}
			t.applyOrRetry(ctx, d)
			delete(names, d.Name)
		}
	}
	return nil
}

// applyOrRetry applies a document. If that fails, the document is read again later.
func (t *Authenticator) applyOrRetry(ctx context.Context, d keystore.Document) {
	err := d.Err
	if err == nil {
		err = t.apply(ctx, d.Name, d.Content)
	}
	if err != nil {
		t.follower.failed[d.Name] = true
	} else {
		delete(t.follower.failed, d.Name)
	}
}
