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

// Servers that share keysets must share the cache: a key is destroyed because of what one cache contains. So each server
// announces itself in the keystore and in its cache, and a server that does not find all others in its own cache
// destroys nothing. Announcements are rewritten all the time, so a cache that was emptied has them again soon. A server whose clock
// is far from another's destroys nothing either: it may believe that a key was kept for long enough.

const (
	announceInterval = 5 * time.Second
	silence          = time.Minute      // after which a server that announced nothing is taken to be dead
	oldest           = 15 * time.Minute // age of an announcement, by another server's clock, that is believed
	markerTTL        = time.Hour        // of an announcement in the cache: longer than oldest
)

// server is what a server announces in the keystore.
type server struct {
	ID    string   `json:"id"`
	Host  string   `json:"host,omitempty"`
	At    int64    `json:"at"`              // milliseconds since 1970
	Apart []string `json:"apart,omitempty"` // why it destroys no key
}

func (s *server) name() string { return fmt.Sprintf("%s (%.6s)", s.Host, s.ID) }

// near reports whether the announcement is of about now. If not, the server is dead, or one of the two clocks is wrong.
func (s *server) near(now int64) bool {
	return now-s.At < oldest.Milliseconds() && s.At-now < oldest.Milliseconds()
}

// marker is the key of a server's announcement in the cache. No tenant has the empty name.
func marker(id string) string { return kv.Prefix("", "servers") + id }

// announceServer announces this process, first in the cache, so that a server that is found in the keystore is in its cache too.
func (r *Rotator) announceServer(ctx context.Context) (more bool, err error) {
	if r.Store == nil {
		return false, nil
	}
	err = kv.Set(ctx, r.Store, marker(r.id), []byte(r.host), markerTTL)
	var reasons []string
	if err == nil {
		reasons, err = r.apartFrom(ctx)
	}
	if err == nil {
		content, _ := json.Marshal(server{r.id, r.host, r.now(), reasons}) // cannot fail: texts and numbers only
		err = r.putServer(ctx, content)
		r.mu.Lock()
		r.unannounced = err
		r.mu.Unlock()
	}
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	persists := len(r.reasons) > 0 // an emptied cache has all announcements again soon
	r.reasons = reasons
	r.mu.Unlock()
	if !persists {
		return false, nil
	}
	return false, r.CheckCacheShared(ctx)
}

// Announced returns the error of the last announcement in the keystore, which Serve renews every few seconds: the keystore can be
// written if it is nil. It reads nothing.
func (r *Rotator) AnnounceError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unannounced
}

// leave withdraws this process's announcement.
func (r *Rotator) leave(ctx context.Context) error { return r.putServer(ctx, nil) }

func (r *Rotator) putServer(ctx context.Context, content []byte) error {
	before, err := r.Keystore.Get(ctx, keystore.Servers, r.id)
	if err == nil && (before != nil || content != nil) {
		_, err = keystore.Replace(ctx, r.Keystore, keystore.Servers, r.id, before, content, 0)
	}
	return err
}

// Quiet returns for how long no server has announced itself, since this process first asked. Clocks of servers do not matter.
func (r *Rotator) ServersUnchangedFor(ctx context.Context) (time.Duration, error) {
	var all []byte
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Servers) {
		if err != nil { // of one document too: it may be of a server that is alive
			return 0, err
		}
		var s server
		if json.Unmarshal(document.Content, &s) == nil {
			all = append(all, document.Content...)
		}
	}
	return r.hear("all servers", string(all)), nil
}

// Apart returns an error if this server may destroy no key, as of its last look: it did not find the announcements of all others
// in its cache, or their clocks are far from its own. It reads nothing.
func (r *Rotator) CheckCacheShared(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := apartText(r.reasons); text != "" {
		return errors.New(text)
	}
	return nil
}

func apartText(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return strings.Join(reasons, "; ") + ": no key is destroyed before all servers that share the keysets use the same cache and agree on the time"
}

// apart returns the reason why this process may not conclude anything from its cache; it is empty if it may.
func (r *Rotator) apart(ctx context.Context) string {
	if r.Store == nil {
		return "this process has no cache"
	}
	reasons, err := r.apartFrom(ctx)
	if err != nil {
		return "whether other servers use this cache is not known: " + codes.Of(err).Meaning
	}
	return apartText(reasons)
}

// apartFrom returns a reason for each live server that is not in this process's cache, or has a clock far from its own. It removes the
// announcements of dead ones.
func (r *Rotator) apartFrom(ctx context.Context) (reasons []string, err error) {
	var live []server
	var keys []string
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Servers) {
		if err != nil { // of one document too: it may be of a server that uses another cache
			return nil, err
		}
		var s server
		if json.Unmarshal(document.Content, &s) != nil || s.ID == r.id {
			continue
		}
		switch same := r.hear("server "+s.ID, string(document.Content)); {
		case same >= silence:
			_, _ = keystore.Replace(ctx, r.Keystore, keystore.Servers, document.Name, document.Content, nil, 0) // tried again by the next look
		case s.near(r.now()):
			live, keys = append(live, s), append(keys, marker(s.ID))
		default:
			reasons = append(reasons, "the clock of "+s.name()+" is far from this server's, or it was killed, which shows within a minute")
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
