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

// errTopologyChanged reports that a scan cannot continue because it may have missed keys.
var errTopologyChanged = fmt.Errorf("rediskv: scan: %w: the server or the masters of the cluster have changed: begin the scan again", kv.ErrCursor)

// Scan implements kv.Store. It scans the masters of a cluster one after the other. After a failover or a restart, which
// change the order of keys, Scan returns kv.ErrCursor for earlier cursors. If Redis refuses INFO, Scan only detects
// that if the address of a master has changed.
func (s *Store) Scan(ctx context.Context, prefix, cursor string, limit int) ([]string, string, error) {
	if s.closed.Load() {
		return nil, "", errClosed
	}
	if limit <= 0 {
		limit = kv.DefaultScanLimit
	}
	page, err := callWithContext(ctx, s, "scan", func() (page, error) {
		return retryOnMaster(ctx, s.client, func() (page, error) { return s.scan(ctx, prefix, cursor, limit) })
	})
	return page.keys, page.cursor, err
}

// page is a page of a scan and the cursor of the next one.
type page struct {
	keys   []string
	cursor string
}

func (s *Store) scan(ctx context.Context, prefix, cursor string, limit int) (page, error) {
	nodes, err := s.masters(ctx)
	if err != nil {
		return page{}, MapError("scan", err)
	}
	at, from, err := nodes.locate(cursor)
	if err != nil {
		return page{}, err
	}
	keys, now, err := nodes[at].scan(ctx, from.cursor, globLiteral.Replace(prefix)+"*", int64(limit))
	switch {
	case err != nil:
		return page{}, err
	case from.begun() && now.server != from.server:
		return page{}, errTopologyChanged
	}
	return page{keys, nodes.cursor(at, now)}, nil
}

// scanPosition is the position of a scan within one server.
type scanPosition struct {
	cursor uint64 // cursor of Redis
	server string // digest of the replication id, which changes after a restart or a failover; empty if Redis refuses INFO
}

func (p scanPosition) begun() bool { return p.cursor > 0 }

// scan returns a page. It asks for the replication id in the same pipeline, and so on the same connection.
func (n *node) scan(ctx context.Context, pos uint64, match string, limit int64) ([]string, scanPosition, error) {
	pipe := n.Pipeline()
	info, page := pipe.Info(ctx, "replication"), pipe.Scan(ctx, pos, match, limit)
	_, _ = pipe.Exec(ctx) // its errors are in the commands
	keys, pos, err := page.Result()
	if err != nil {
		return nil, scanPosition{}, MapError("scan", err)
	}
	text, err := info.Result()
	switch {
	case err != nil && isInfoRefused(err):
		return keys, scanPosition{cursor: pos}, nil
	case err != nil:
		return nil, scanPosition{}, MapError("scan", err)
	case infoField(text, "role") == "slave":
		return nil, scanPosition{}, fmt.Errorf("rediskv: scan: %w", errReplica)
	}
	return keys, scanPosition{pos, digest(infoField(text, "master_replid"))}, nil
}

// isInfoRefused reports whether Redis refused INFO because the user lacks the permission or because the configuration
// renamed the command.
func isInfoRefused(err error) bool {
	return strings.HasPrefix(err.Error(), "NOPERM") || strings.HasPrefix(err.Error(), "ERR unknown command")
}

// infoField returns a field of a reply to INFO. It is empty if the field is missing.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimRight(value, "\r\n")
		}
	}
	return ""
}

// globLiteral escapes the special characters of MATCH patterns.
var globLiteral = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// node is a server that stores keys. SCAN returns only the keys of the server that runs it.
type node struct {
	redis.Cmdable
	addr string
}

type nodes []node

// masters returns the servers in a stable order. A single server has no address in it.
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
		err = errors.New("the client knows no master")
	}
	return all, err
}

// A cursor consists of Redis' own cursor, a digest of the server's replication id, a digest of the addresses of all
// servers, and the index of the server, separated by "@". It contains no address, because callers of the HTTP API see
// it.

func (n nodes) cursor(at int, p scanPosition) string {
	if p.cursor == 0 {
		if at++; at == len(n) {
			return ""
		}
		p.server = "" // the next server has not been asked yet
	}
	return strings.Join([]string{strconv.FormatUint(p.cursor, 10), p.server, n.digest(), strconv.Itoa(at)}, "@")
}

func (n nodes) locate(cursor string) (at int, p scanPosition, err error) {
	if cursor == "" {
		return 0, scanPosition{}, nil
	}
	parts := strings.SplitN(cursor, "@", 4)
	p.cursor, err = strconv.ParseUint(parts[0], 10, 64)
	if err != nil || len(parts) != 4 {
		return 0, scanPosition{}, errCursor
	}
	p.server = parts[1]
	at, err = strconv.Atoi(parts[3])
	switch {
	case err != nil:
		return 0, scanPosition{}, errCursor
	case parts[2] != n.digest() || at < 0 || at >= len(n):
		return 0, scanPosition{}, errTopologyChanged
	}
	return at, p, nil
}

// digest identifies a set of servers.
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
