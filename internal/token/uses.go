package token

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
)

// Last-use times are in documents of their own, one for each first byte of an id: {"ID":HOUR,…}, in hours since 1970. They are for
// display only and are not authenticated. Requests note them in memory, and they are written in the background.
const (
	usesInterval = time.Minute
	shardPause   = 100 * time.Millisecond // between two documents
	keepUses     = 48                     // hours for which the times of unknown tokens are kept: another server may know them
)

// shardOf returns the name of the document with a token's last use.
func shardOf(id string) string { return id[:2] }

// noteUses writes the last-use times that are new. Failures are tried again the next time.
func (t *Authenticator) noteUses(ctx context.Context, pause time.Duration) {
	for shard, tokens := range t.newUses() {
		if err := t.noteShard(ctx, shard, tokens); err != nil {
			if ctx.Err() == nil {
				t.options.Log.WarnContext(ctx, "the last uses of tokens cannot be noted now", "error", err)
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

// newUses returns the tokens whose last use is not in the keystore, by shard.
func (t *Authenticator) newUses() map[string][]*known {
	shards := map[string][]*known{}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.byID {
		if k.inForce() && k.usedAt.Load() > k.notedAt {
			shards[shardOf(k.ID)] = append(shards[shardOf(k.ID)], k)
		}
	}
	return shards
}

// noteShard adds the uses of tokens to a shard. The latest one of all servers counts.
func (t *Authenticator) noteShard(ctx context.Context, shard string, tokens []*known) error {
	noted := make([]int64, len(tokens))
	for i, k := range tokens {
		noted[i] = k.usedAt.Load()
	}
	for {
		old, err := t.store.Get(ctx, keystore.TokenUses, shard)
		if err != nil {
			return err
		}
		hours, changed := parseUses(old), false
		for i, k := range tokens {
			if hours[k.ID] < noted[i] {
				hours[k.ID], changed = noted[i], true
			}
		}
		if changed {
			t.pruneUses(hours)
			content, _ := json.Marshal(hours) // cannot fail: texts and numbers
			if changed, err = keystore.Replace(ctx, t.store, keystore.TokenUses, shard, old, content, 0); err != nil {
				return err
			}
			if !changed { // another server changed it in the meantime
				continue
			}
		}
		t.mu.Lock()
		for i, k := range tokens {
			k.notedAt = max(k.notedAt, noted[i])
		}
		t.mu.Unlock()
		return nil
	}
}

// pruneUses removes the times of tokens that are gone, and those that a clock far ahead wrote.
func (t *Authenticator) pruneUses(hours map[string]int64) {
	now := t.now().Unix() / 3600
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(hours, func(id string, hour int64) bool {
		k := t.byID[id]
		return hour > now+1 || hour < now-keepUses && (k == nil || !k.inForce())
	})
}

// parseUses reads a shard. A damaged one is empty.
func parseUses(content []byte) map[string]int64 {
	hours := map[string]int64{}
	if json.Unmarshal(content, &hours) != nil || hours == nil {
		return map[string]int64{}
	}
	return hours
}

// uses reads the last-use times of all tokens.
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
