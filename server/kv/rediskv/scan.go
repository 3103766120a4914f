package rediskv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

var errCursor = fmt.Errorf("rediskv: scan: %w", kv.ErrCursor)

// errMoved: a scan cannot continue, because keys may have been missed.
var errMoved = fmt.Errorf("rediskv: scan: %w any more: another server answers, or a cluster's masters are others: begin the scan again", kv.ErrCursor)

// Scan implements kv.Store. A cluster's masters are scanned one after the other. A scan is of the same
// servers from its first page to its last: after a failover or a restart, which order keys otherwise, a cursor
// of before fails with kv.ErrCursor. Where the user of Redis may not use INFO, or Redis does not know it, that
// is found only if a master's address is another one.
func (s *Store) Scan(ctx context.Context, prefix, cursor string, limit int) ([]string, string, error) {
	if s.closed.Load() {
		return nil, "", errClosed
	}
	if limit <= 0 {
		limit = kv.DefaultScanLimit
	}
	page, err := bounded(ctx, s, "scan", func() (page, error) {
		return onMaster(ctx, s.client, func() (page, error) { return s.scan(ctx, prefix, cursor, limit) })
	})
	return page.keys, page.cursor, err
}

// page is one page of a scan, and the cursor of the next one.
type page struct {
	keys   []string
	cursor string
}

func (s *Store) scan(ctx context.Context, prefix, cursor string, limit int) (page, error) {
	nodes, err := s.masters(ctx)
	if err != nil {
		return page{}, mapError("scan", err)
	}
	at, from, err := nodes.locate(cursor)
	if err != nil {
		return page{}, err
	}
	keys, now, err := nodes[at].scan(ctx, from.pos, globLiteral.Replace(prefix)+"*", int64(limit))
	switch {
	case err != nil:
		return page{}, err
	case from.begun() && now.server != from.server:
		return page{}, errMoved
	}
	return page{keys, nodes.cursor(at, now)}, nil
}

// place is how far the scan of a server is.
type place struct {
	pos    uint64 // Redis' own cursor
	server string // a digest of its replication's id, another one after a restart or a failover; empty where it is not told
}

func (p place) begun() bool { return p.pos > 0 }

// scan returns a page. It asks for the replication id in the same pipeline, on the same connection.
func (n *node) scan(ctx context.Context, pos uint64, match string, limit int64) ([]string, place, error) {
	pipe := n.Pipeline()
	info, page := pipe.Info(ctx, "replication"), pipe.Scan(ctx, pos, match, limit)
	_, _ = pipe.Exec(ctx) // the commands have its errors
	keys, pos, err := page.Result()
	if err != nil {
		return nil, place{}, mapError("scan", err)
	}
	text, err := info.Result()
	switch {
	case err != nil && untold(err):
		return keys, place{pos: pos}, nil
	case err != nil:
		return nil, place{}, mapError("scan", err)
	case field(text, "role") == "slave":
		return nil, place{}, fmt.Errorf("rediskv: scan: %w", errReplica)
	}
	return keys, place{pos, digest(field(text, "master_replid"))}, nil
}

// untold reports that Redis does not let the user have INFO, or does not know it, as where its configuration
// renamed that.
func untold(err error) bool {
	return strings.HasPrefix(err.Error(), "NOPERM") || strings.HasPrefix(err.Error(), "ERR unknown command")
}

// field returns a field of INFO, or nothing if it is missing.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimRight(value, "\r\n")
		}
	}
	return ""
}

// globLiteral escapes what MATCH takes for a pattern.
var globLiteral = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// node is one server that holds keys: SCAN knows only those of the server that runs it.
type node struct {
	redis.Cmdable
	addr string
}

type nodes []node

// masters lists the servers in a stable order. A single server or a failover needs no name.
func (s *Store) masters(ctx context.Context) (nodes, error) {
	var mu sync.Mutex
	var all nodes
	collect := func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, node{c, c.Options().Addr})
		return nil
	}
	var err error
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, collect)
	case *redis.Ring:
		err = c.ForEachShard(ctx, collect)
	default:
		return nodes{{s.client, ""}}, nil
	}
	slices.SortFunc(all, func(a, b node) int { return strings.Compare(a.addr, b.addr) })
	if err == nil && len(all) == 0 {
		err = errors.New("no master is known")
	}
	return all, err
}

// A cursor is Redis' own cursor, a digest of who gave it, one of all servers' addresses, and the server's place
// among them, with "@" between them. Callers of the API see it, so it has no address.

func (n nodes) cursor(at int, p place) string {
	if p.pos == 0 {
		if at++; at == len(n) {
			return ""
		}
		p.server = "" // the next one is yet to be asked
	}
	return strings.Join([]string{strconv.FormatUint(p.pos, 10), p.server, n.digest(), strconv.Itoa(at)}, "@")
}

func (n nodes) locate(cursor string) (at int, p place, err error) {
	if cursor == "" {
		return 0, place{}, nil
	}
	parts := strings.SplitN(cursor, "@", 4)
	p.pos, err = strconv.ParseUint(parts[0], 10, 64)
	if err != nil || len(parts) != 4 {
		return 0, place{}, errCursor
	}
	p.server = parts[1]
	at, err = strconv.Atoi(parts[3])
	switch {
	case err != nil:
		return 0, place{}, errCursor
	case parts[2] != n.digest() || at < 0 || at >= len(n):
		return 0, place{}, errMoved
	}
	return at, p, nil
}

// digest tells sets of servers apart.
func (n nodes) digest() string {
	var all strings.Builder
	for i := range n {
		all.WriteString(n[i].addr + "\n")
	}
	return digest(all.String())
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
