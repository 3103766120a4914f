// Package rediskeys implements keystore.Store in a Redis that several hosts share.
//
// All keys have one hash tag, so one script changes a document, the feed and the indexes in one step, in a cluster as
// well. The store is as durable as Redis is: a Redis that stores keysets needs "appendonly yes", "appendfsync always"
// and "maxmemory-policy noeviction".
package rediskeys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// Store implements keystore.Store. It is safe for concurrent use.
type Store struct{ client redis.UniversalClient }

var (
	_ keystore.Store      = (*Store)(nil)
	_ keystore.ManyGetter = (*Store)(nil)
)

// New returns a store over a client. The caller closes the client.
func New(client redis.UniversalClient) *Store { return &Store{client} }

// Client returns the store's client, for other uses of the same Redis.
func (s *Store) Client() redis.UniversalClient { return s.client }

// Redis keys: a string for each document, a sorted set of names and one of due times for each kind, and a stream of
// changes.
const (
	prefix  = "{coffer-keys}/"
	feedKey = prefix + "feed"
)

// feedLength is approximately how many changes the feed keeps. A reader that is further behind rereads every
// document.
const feedLength = 100_000

// ErrUnreachable reports that Redis cannot be reached, does not answer, or is not ready to answer. Its content is not
// at fault. It is a keystore.ErrUnavailable.
var ErrUnreachable = fmt.Errorf("%w: Redis does not answer", keystore.ErrUnavailable)

// errMissing reports a document that was removed by hand, or that Redis lost.
var errMissing = errors.New("it is missing, but listed: restore it from a backup")

// feedPage is how many changes one call of Changes returns at most.
const feedPage = 1000

// Location implements keystore.Store: it returns the key of a document.
func (s *Store) Location(kind keystore.Kind, name string) string {
	return prefix + string(kind) + "/" + name
}

func namesKey(kind keystore.Kind) string { return prefix + "names/" + string(kind) }
func dueKey(kind keystore.Kind) string   { return prefix + "due/" + string(kind) }

// Get implements keystore.Store.
func (s *Store) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	content, err := s.client.Get(ctx, s.Location(kind, name)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failed(kind, name, err)
	}
	return content, nil
}

// GetMany implements keystore.ManyGetter with one pipeline.
func (s *Store) GetMany(ctx context.Context, kind keystore.Kind, names []string) []keystore.Document {
	pipe := s.client.Pipeline()
	replies := make([]*redis.StringCmd, len(names))
	for i, name := range names {
		replies[i] = pipe.Get(ctx, s.Location(kind, name))
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	documents := make([]keystore.Document, len(names))
	for i, name := range names {
		content, err := replies[i].Bytes()
		documents[i] = keystore.Document{Name: name, Content: content}
		if err != nil && !errors.Is(err, redis.Nil) {
			documents[i].Err = s.failed(kind, name, err)
		}
	}
	return documents
}

// swapScript implements Swap.
//
// KEYS: the document, the set of names, the set of due times, the feed. ARGV: the former content and the new one
// (empty for a missing document), the due time, the kind, the name, a random id of the change, the length of the
// feed.
//
// The client repeats a call whose reply was lost, so new content that is already there counts as success. A script
// that fails keeps its earlier writes. It therefore writes the document last: if a key of the feed or of an index has
// the wrong type, the document stays as it is. A document that was removed by hand leaves a due time, which the next
// Swap removes.
var swapScript = redis.NewScript(`
local now, old, new = redis.call('GET', KEYS[1]) or '', ARGV[1], ARGV[2]
if now == '' and new == '' then
	redis.call('ZREM', KEYS[3], ARGV[5])
	return 1
end
if now ~= old then return now == new and 1 or 0 end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[7], '*', 'id', ARGV[6], 'kind', ARGV[4], 'name', ARGV[5])
redis.call('ZREM', KEYS[3], ARGV[5])
if new == '' then
	redis.call('ZREM', KEYS[2], ARGV[5])
	redis.call('DEL', KEYS[1])
else
	redis.call('ZADD', KEYS[2], 0, ARGV[5])
	if ARGV[3] ~= '0' then redis.call('ZADD', KEYS[3], ARGV[3], ARGV[5]) end
	redis.call('SET', KEYS[1], new)
end
return 1`)

// Swap implements keystore.Store.
func (s *Store) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := keystore.CheckWrite(s.Location(kind, name), name, document); err != nil {
		return false, err
	}
	keys := []string{s.Location(kind, name), namesKey(kind), dueKey(kind), feedKey}
	swapped, err := swapScript.Run(ctx, s.client, keys, old, document, due, string(kind), name, rand.Text(), feedLength).Bool()
	if err != nil {
		return false, s.failed(kind, name, err)
	}
	return swapped, nil
}

// Page implements keystore.Store, in the order of names.
func (s *Store) Page(ctx context.Context, kind keystore.Kind, after string, limit int) (documents []keystore.Document, next string, err error) {
	from := "-"
	if after != "" {
		from = "(" + after[1:]
	}
	names, err := s.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: namesKey(kind), ByLex: true, Start: from, Stop: "+", Count: int64(limit) + 1}).Result()
	if err != nil {
		return nil, "", s.failed(kind, "", err)
	}
	if len(names) > limit {
		names = names[:limit]
		next = "." + names[limit-1] // never empty, although a name can be
	}
	if len(names) == 0 {
		return nil, "", nil
	}
	for _, document := range s.GetMany(ctx, kind, names) {
		if document.Content == nil && document.Err == nil {
			switch err := s.client.ZScore(ctx, namesKey(kind), document.Name).Err(); {
			case errors.Is(err, redis.Nil): // it was removed in the meantime
				continue
			case err == nil:
				err = errMissing
				fallthrough
			default:
				document.Err = s.failed(kind, document.Name, err)
			}
		}
		documents = append(documents, document)
	}
	return documents, next, nil
}

// beginFeed returns the last entry of the feed. It adds one to an empty feed, so that every position names an entry,
// which a store that was emptied does not have.
var beginFeed = redis.NewScript(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 then
	redis.call('XADD', KEYS[1], '*', 'id', ARGV[1], 'kind', '', 'name', '')
	last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
end
return last[1][1] .. ' ' .. last[1][2][2]`)

// Changes implements keystore.Store. A position is the last entry that was read: its id in the stream and its random
// id. If the stream was trimmed beyond the entry, or the store returned to an earlier state, the entry is missing or
// has another random id.
func (s *Store) Changes(ctx context.Context, since keystore.Position) ([]keystore.Change, keystore.Position, error) {
	if since == "" {
		last, err := beginFeed.Run(ctx, s.client, []string{feedKey}, rand.Text()).Text()
		if err != nil {
			return nil, "", s.failed("feed", "", err)
		}
		return nil, keystore.Position(last), nil
	}
	place, id, _ := strings.Cut(string(since), " ")
	entries, err := s.client.XRangeN(ctx, feedKey, place, "+", feedPage+1).Result()
	if err != nil {
		return nil, "", s.failed("feed", "", err)
	}
	if len(entries) == 0 || entries[0].ID != place || entries[0].Values["id"] != id {
		return nil, "", keystore.ErrFeedLost
	}
	var changes []keystore.Change
	for _, entry := range entries[1:] {
		kind, _ := entry.Values["kind"].(string)
		name, _ := entry.Values["name"].(string)
		entryID, _ := entry.Values["id"].(string)
		since = keystore.Position(entry.ID + " " + entryID)
		changes = append(changes, keystore.Change{Kind: keystore.Kind(kind), Name: name})
	}
	return changes, since, nil
}

// Due implements keystore.Store.
func (s *Store) Due(ctx context.Context, kind keystore.Kind, until int64, limit int) ([]string, error) {
	names, err := s.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: dueKey(kind), ByScore: true, Start: "-inf", Stop: until, Count: int64(limit)}).Result()
	if err != nil {
		return nil, s.failed(kind, "", err)
	}
	return names, nil
}

func (s *Store) failed(kind keystore.Kind, name string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	sentinel := error(keystore.ErrUnavailable)
	if unreachable(err) {
		sentinel = ErrUnreachable
	}
	return fmt.Errorf("keystore: %s: %w: %w", s.Location(kind, name), sentinel, rediskv.MapError("keysets", err))
}

// unreachable reports whether an error may be temporary: Redis sent no reply, or replied that it is not ready.
func unreachable(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}
	word, _, _ := strings.Cut(reply.Error(), " ")
	return slices.Contains([]string{"LOADING", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN"}, word)
}
