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
// destroys nothing. Announcements are rewritten all the time, so a cache that was emptied has them again soon.

const (
	announceInterval = 5 * time.Second
	silence          = time.Minute      // after which a server that announced nothing is taken to be dead
	oldest           = 15 * time.Minute // age of an announcement, by another server's clock, that is still believed
	markerTTL        = time.Hour        // of an announcement in the cache: longer than oldest
)

// server is what a server announces in the keystore.
type server struct {
	ID          string   `json:"id"`
	Host        string   `json:"host,omitempty"`
	Environment string   `json:"environment"`
	At          int64    `json:"at"`                // milliseconds since 1970
	Missing     []string `json:"missing,omitempty"` // hosts that it does not find in its cache
}

func (s *server) name() string { return fmt.Sprintf("%s (%.6s)", s.Host, s.ID) }

func (s *server) lives(now int64) bool { return now-s.At < oldest.Milliseconds() }

// marker is the key of a server's announcement in the cache. No tenant has the empty name.
func marker(environment, id string) string {
	return kv.Prefix("", "servers") + environment + "/" + id
}

// announceServer announces this process, first in the cache, so that a server that is found in the keystore is in its cache too.
func (r *Rotator) announceServer(ctx context.Context) (more bool, err error) {
	if r.Store == nil {
		return false, nil
	}
	err = kv.Set(ctx, r.Store, marker(r.Environment, r.id), []byte(r.host), markerTTL)
	var missing []string
	if err == nil {
		missing, err = r.missing(ctx)
	}
	if err == nil {
		content, _ := json.Marshal(server{r.id, r.host, r.Environment, r.now(), missing}) // cannot fail: texts and numbers only
		err = r.putServer(ctx, content)
	}
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	persists := len(r.missed) > 0 // an emptied cache has all announcements again soon
	r.missed = missing
	r.mu.Unlock()
	if !persists {
		return false, nil
	}
	return false, r.Apart(ctx)
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

// Apart returns an error if this server did not find the announcements of all others in its cache at its last look. It reads
// nothing.
func (r *Rotator) Apart(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := apartText(r.missed); text != "" {
		return errors.New(text)
	}
	return nil
}

func apartText(missing []string) string {
	if len(missing) == 0 {
		return ""
	}
	return "servers that share the keysets are not in this server's cache (" + strings.Join(missing, ", ") +
		"): no key is destroyed before all of them use the same cache"
}

// apart returns the reason why this process may not conclude anything from its cache; it is empty if it may.
func (r *Rotator) apart(ctx context.Context) string {
	if r.Store == nil {
		return "this process has no cache"
	}
	missing, err := r.missing(ctx)
	if err != nil {
		return "whether other servers use this cache is not known: " + codes.Of(err).Meaning
	}
	return apartText(missing)
}

// missing returns the live servers that this process does not find in its cache.
func (r *Rotator) missing(ctx context.Context) (hosts []string, err error) {
	var live []server
	var keys []string
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Servers) {
		if err != nil && document.Err == nil {
			return nil, err
		}
		var s server
		if json.Unmarshal(document.Content, &s) != nil || s.Environment != r.Environment || s.ID == r.id {
			continue
		}
		if r.silent("server "+s.ID, string(document.Content), silence) || !s.lives(r.now()) {
			_, _ = keystore.Replace(ctx, r.Keystore, keystore.Servers, document.Name, document.Content, nil, 0) // tried again by the next look
			continue
		}
		live, keys = append(live, s), append(keys, marker(r.Environment, s.ID))
	}
	if len(live) == 0 {
		return nil, nil
	}
	found, err := kv.GetMany(ctx, r.Store, keys)
	if err != nil {
		return nil, err
	}
	for i := range live {
		if found[i] == nil {
			hosts = append(hosts, live[i].name())
		}
	}
	slices.Sort(hosts)
	return hosts, nil
}
