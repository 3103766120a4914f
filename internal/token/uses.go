package token

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
)

// Last-use times are stored in documents of their own, one for each first byte of an id: {"ID":HOUR,…}, in hours since
// 1970. They are for display only and not authenticated. Requests update them in memory, and a goroutine writes them.
const (
	usesInterval    = time.Minute
	shardWritePause = 100 * time.Millisecond // pause between two documents
	keepUsesHours   = 48                     // hours for which the times of unknown tokens are kept, because another server may know the tokens
)

// shardOf returns the name of the document that contains a token's last use.
func shardOf(id string) string { return id[:2] }

// saveUses writes the last-use times that have changed. After a failure, the next call tries again.
func (t *Authenticator) saveUses(ctx context.Context, pause time.Duration) {
	for shard, tokens := range t.unsavedUses() {
		if err := t.saveShard(ctx, shard, tokens); err != nil {
			if ctx.Err() == nil {
				t.options.Log.WarnContext(ctx, "the last uses of tokens cannot be saved now", "error", err)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// unsavedUses returns the tokens whose last use is not in the keystore, by shard.
func (t *Authenticator) unsavedUses() map[string][]*cachedToken {
	shards := map[string][]*cachedToken{}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.byID {
		if k.inForce() && k.lastUse.Load() > k.savedUse {
			shards[shardOf(k.ID)] = append(shards[shardOf(k.ID)], k)
		}
	}
	return shards
}

// saveShard adds the last uses of tokens to a shard. The latest use on any server counts.
func (t *Authenticator) saveShard(ctx context.Context, shard string, tokens []*cachedToken) error {
	uses := make([]int64, len(tokens))
	for i, k := range tokens {
		uses[i] = k.lastUse.Load()
	}
	for {
		old, err := t.store.Get(ctx, keystore.TokenUses, shard)
		if err != nil {
			return err
		}
		hours, changed := parseUses(old), false
		for i, k := range tokens {
			if hours[k.ID] < uses[i] {
				hours[k.ID], changed = uses[i], true
			}
		}
		if changed {
			t.pruneUses(hours)
			content, _ := json.Marshal(hours) // never fails: the map has only strings and numbers
			if changed, err = keystore.Replace(ctx, t.store, keystore.TokenUses, shard, old, content, 0); err != nil {
				return err
			}
			if !changed { // another server changed the document in the meantime
				continue
			}
		}
		t.mu.Lock()
		for i, k := range tokens {
			k.savedUse = max(k.savedUse, uses[i])
		}
		t.mu.Unlock()
		return nil
	}
}

// pruneUses removes the times of deleted tokens and times that a clock far ahead has set.
func (t *Authenticator) pruneUses(hours map[string]int64) {
	now := t.now().Unix() / 3600
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(hours, func(id string, hour int64) bool {
		k := t.byID[id]
		return hour > now+1 || hour < now-keepUsesHours && (k == nil || !k.inForce())
	})
}

// parseUses parses a shard. A damaged shard counts as empty.
func parseUses(content []byte) map[string]int64 {
	hours := map[string]int64{}
	if json.Unmarshal(content, &hours) != nil || hours == nil {
		return map[string]int64{}
	}
	return hours
}

// uses returns the last-use times of all tokens.
func (r *Registry) uses(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	for document, err := range keystore.All(ctx, r.store, keystore.TokenUses) {
		if err != nil && document.Err == nil {
			return nil, fmt.Errorf("token: last uses: %w", err)
		}
		maps.Copy(all, parseUses(document.Content))
	}
	return all, nil
}
