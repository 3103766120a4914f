package rediskv

import (
	"context"
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

// Scan implements kv.Store. A cluster's masters are scanned one after the other; where one has gone
// meanwhile, the scan fails with kv.ErrUnavailable and has to begin again, since keys may have been missed.
func (s *Store) Scan(ctx context.Context, prefix, cursor string, limit int) ([]string, string, error) {
	if s.closed.Load() {
		return nil, "", errClosed
	}
	if limit <= 0 {
		limit = kv.DefaultScanLimit
	}
	nodes, err := s.masters(ctx)
	if err != nil {
		return nil, "", failure("scan", err)
	}
	at, pos, err := nodes.locate(cursor)
	if err != nil {
		return nil, "", err
	}
	keys, pos, err := nodes[at].Scan(ctx, pos, globLiteral.Replace(prefix)+"*", int64(limit)).Result()
	if err != nil {
		return nil, "", failure("scan", err)
	}
	return keys, nodes.cursor(at, pos), nil
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

// A cursor is Redis' own cursor, "@", and the server's address.

func (n nodes) cursor(at int, pos uint64) string {
	if pos == 0 {
		if at++; at == len(n) {
			return ""
		}
	}
	return strconv.FormatUint(pos, 10) + "@" + n[at].addr
}

func (n nodes) locate(cursor string) (at int, pos uint64, err error) {
	if cursor == "" {
		return 0, 0, nil
	}
	num, addr, ok := strings.Cut(cursor, "@")
	pos, err = strconv.ParseUint(num, 10, 64)
	if !ok || err != nil {
		return 0, 0, errCursor
	}
	at = slices.IndexFunc(n, func(m node) bool { return m.addr == addr })
	if at < 0 {
		return 0, 0, fmt.Errorf("rediskv: scan: %w: a server left the cluster; begin the scan again", kv.ErrUnavailable)
	}
	return at, pos, nil
}
