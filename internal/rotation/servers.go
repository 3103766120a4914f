package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/codes"
)

// A key is destroyed because one cache contains no entry under it, so all servers that share keysets must share the
// cache. Each server announces itself in the keystore and in its cache. A server that does not find all other servers
// in its own cache destroys no key. Servers repeat their announcements every few seconds, so an emptied cache soon
// contains them again. A server whose clock is far from another server's destroys no key either, because it cannot
// judge how long a key has been kept.

const (
	announceInterval   = 5 * time.Second
	deadAfter          = time.Minute      // a server that announced nothing for so long is considered dead
	maxAnnouncementAge = 15 * time.Minute // an announcement that is older, by the clock of its server, is not trusted
	markerTTL          = time.Hour        // of an announcement in the cache; longer than maxAnnouncementAge
)

// announcement is the document with which a server announces itself in the keystore.
type announcement struct {
	ID       string   `json:"id"`
	Host     string   `json:"host,omitempty"`
	At       int64    `json:"at"`              // milliseconds since 1970
	Unshared []string `json:"apart,omitempty"` // why the server destroys no key
}

func (a *announcement) name() string { return fmt.Sprintf("%s (%.6s)", a.Host, a.ID) }

// isRecent reports whether the announcement was made about now. If not, the server is dead or one of the clocks is
// wrong.
func (a *announcement) isRecent(now int64) bool {
	return now-a.At < maxAnnouncementAge.Milliseconds() && a.At-now < maxAnnouncementAge.Milliseconds()
}

// markerKey returns the key of a server's announcement in the cache. The empty name belongs to no tenant.
func markerKey(id string) string { return kv.Prefix("", "servers") + id }

// announceServer announces this process, first in the cache and then in the keystore. So a server that is found in the
// keystore is already in its cache.
func (r *Rotator) announceServer(ctx context.Context) (more bool, err error) {
	if r.Store == nil {
		return false, nil
	}
	err = kv.Set(ctx, r.Store, markerKey(r.id), []byte(r.host), markerTTL)
	var reasons []string
	if err == nil {
		reasons, err = r.findUnshared(ctx)
	}
	if err == nil {
		content, _ := json.Marshal(announcement{r.id, r.host, r.now(), reasons}) // never fails: the document has only strings and numbers
		err = r.putAnnouncement(ctx, content)
		r.mu.Lock()
		r.announceErr = err
		r.mu.Unlock()
	}
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	repeated := len(r.unsharedReasons) > 0 // the first time may be because the cache was emptied a moment ago
	r.unsharedReasons = reasons
	r.mu.Unlock()
	if !repeated {
		return false, nil
	}
	return false, r.CheckCacheShared(ctx)
}

// AnnounceError returns the error of the last announcement in the keystore. Serve announces every few seconds, so nil
// means that the keystore can be written. AnnounceError does no I/O.
func (r *Rotator) AnnounceError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.announceErr
}

// withdrawServer removes this process's announcement.
func (r *Rotator) withdrawServer(ctx context.Context) error { return r.putAnnouncement(ctx, nil) }

func (r *Rotator) putAnnouncement(ctx context.Context, content []byte) error {
	before, err := r.Keystore.Get(ctx, keystore.Servers, r.id)
	if err == nil && (before != nil || content != nil) {
		_, err = keystore.Replace(ctx, r.Keystore, keystore.Servers, r.id, before, content, 0)
	}
	return err
}

// ServersUnchangedFor returns for how long no server has renewed its announcement, counted from the first call in this
// process. The servers' clocks do not matter.
func (r *Rotator) ServersUnchangedFor(ctx context.Context) (time.Duration, error) {
	var all []byte
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Servers) {
		if err != nil { // even if only one document cannot be read: it may belong to a live server
			return 0, err
		}
		var s announcement
		if json.Unmarshal(document.Content, &s) == nil {
			all = append(all, document.Content...)
		}
	}
	return r.unchangedFor("all servers", string(all)), nil
}

// CheckCacheShared returns an error if this server may not destroy keys: it did not find the announcements of all other
// servers in its cache, or their clocks are far from its own. The result is that of the last announcement, and
// CheckCacheShared does no I/O.
func (r *Rotator) CheckCacheShared(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := unsharedText(r.unsharedReasons); text != "" {
		return errors.New(text)
	}
	return nil
}

func unsharedText(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return strings.Join(reasons, "; ") + ": no key is destroyed until all servers that share the keysets use the same cache and agree on the time"
}

// unsharedReason returns the reason why this process may not rely on the content of its cache, or "".
func (r *Rotator) unsharedReason(ctx context.Context) string {
	if r.Store == nil {
		return "this process has no cache"
	}
	reasons, err := r.findUnshared(ctx)
	if err != nil {
		return "it is unknown whether other servers use this cache: " + codes.Of(err).Meaning
	}
	return unsharedText(reasons)
}

// findUnshared returns a reason for each live server that is not in this process's cache or has a clock far from its
// own. It removes the announcements of dead servers.
func (r *Rotator) findUnshared(ctx context.Context) (reasons []string, err error) {
	var live []announcement
	var keys []string
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Servers) {
		if err != nil { // even if only one document cannot be read: its server may use another cache
			return nil, err
		}
		var s announcement
		if json.Unmarshal(document.Content, &s) != nil || s.ID == r.id {
			continue
		}
		switch unchanged := r.unchangedFor("server "+s.ID, string(document.Content)); {
		case unchanged >= deadAfter:
			_, _ = keystore.Replace(ctx, r.Keystore, keystore.Servers, document.Name, document.Content, nil, 0) // a failure is repeated with the next announcement
		case s.isRecent(r.now()):
			live, keys = append(live, s), append(keys, markerKey(s.ID))
		default:
			reasons = append(reasons, "the clock of "+s.name()+" is far from this server's clock, or that server was killed less than a minute ago")
		}
	}
	if len(live) == 0 {
		return reasons, nil
	}
	found, err := kv.GetMany(ctx, r.Store, keys)
	if err != nil {
		return nil, err
	}
	for i := range live {
		if found[i] == nil {
			reasons = append(reasons, live[i].name()+" is not in this server's cache")
		}
	}
	slices.Sort(reasons)
	return reasons, nil
}
