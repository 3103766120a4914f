package rediskv

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

var _ kv.Sweeper = (*Store)(nil)

// singlePart is the name of the only part of a store that is not a cluster.
const singlePart = "redis"

// masterInfo is what a master reports about itself.
type masterInfo struct {
	part   string
	client redis.Cmdable
	server string // digest of the replication id; empty if INFO is not permitted
	slots  string // slots of a cluster's master, in the format of CLUSTER NODES
	epoch  string // epoch of a cluster's master: it grows when a slot is moved to the master, even if it comes back
	reason string // why keys of the master may be moving
}

// Topology implements kv.Sweeper. The parts are the masters of a cluster that have slots, the shards of a Ring, or the
// single server. Topology asks each master for its replication id and its own view of its slots in one round trip. If
// the user must not use INFO, restarts and failovers cannot be detected, and the topology is never stable.
func (s *Store) Topology(ctx context.Context) (kv.Topology, error) {
	if s.closed.Load() {
		return kv.Topology{}, errClosed
	}
	members, err := callWithContext(ctx, s, "topology", func() ([]masterInfo, error) { return s.describeMasters(ctx) })
	if err != nil {
		return kv.Topology{}, MapError("topology", err)
	}
	topology, text := kv.Topology{Stable: true}, strings.Builder{}
	for _, m := range members {
		topology.Parts = append(topology.Parts, m.part)
		fmt.Fprintf(&text, "%s %s %s %s\n", m.part, m.server, m.slots, m.epoch)
		if m.reason != "" {
			topology.Stable, topology.Reason = false, m.reason
		}
	}
	if _, cluster := s.client.(*redis.ClusterClient); cluster && topology.Stable {
		if topology.Reason = slotProblem(members); topology.Reason != "" {
			topology.Stable = false
		}
	}
	topology.ID = digest(text.String())
	return topology, nil
}

// describeMasters asks every master, and stores the clients of the parts for SweepPage.
func (s *Store) describeMasters(ctx context.Context) ([]masterInfo, error) {
	var mu sync.Mutex
	var masters []masterInfo
	collect := func(ctx context.Context, c *redis.Client) error {
		m, err := describeMaster(ctx, c, s.partOf(c))
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, m)
		return nil
	}
	if err := s.eachMaster(ctx, collect); err != nil {
		return nil, err
	}
	// After a failover, the former master stays in the client's slot map for a moment, but has no slots.
	masters = slices.DeleteFunc(masters, func(m masterInfo) bool { return m.part == "" })
	slices.SortFunc(masters, func(a, b masterInfo) int { return cmp.Compare(a.part, b.part) })
	clients := make(map[string]redis.Cmdable, len(masters))
	for _, m := range masters {
		clients[m.part] = m.client
	}
	s.parts.Store(&clients)
	return masters, nil
}

// eachMaster calls f with a client of each master, concurrently if there are several.
func (s *Store) eachMaster(ctx context.Context, f func(ctx context.Context, c *redis.Client) error) error {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f) // ForEachMaster loads the slot map first
	case *redis.Ring:
		return c.ForEachShard(ctx, f)
	case *redis.Client:
		_, err := retryOnMaster(ctx, c, func() (struct{}, error) { return struct{}{}, f(ctx, c) })
		return err
	}
	return fmt.Errorf("a client of type %T does not list its masters", s.client)
}

// partOf returns the name of a client's part. In a cluster it is empty, because the parts are named by node ids.
func (s *Store) partOf(c *redis.Client) string {
	switch s.client.(type) {
	case *redis.ClusterClient:
		return ""
	case *redis.Ring:
		return c.Options().Addr
	}
	return singlePart
}

// describeMaster asks a master about itself. In a cluster, the part is the node id, and empty if the master has no
// slots.
func describeMaster(ctx context.Context, c *redis.Client, part string) (masterInfo, error) {
	m := masterInfo{part: part, client: c}
	pipe := c.Pipeline()
	info := pipe.Info(ctx, "replication")
	var nodes *redis.StringCmd
	if part == "" {
		nodes = pipe.ClusterNodes(ctx)
	}
	_, _ = pipe.Exec(ctx) // its errors are in the commands
	text, err := info.Result()
	switch {
	case err != nil && isInfoRefused(err):
		m.reason = "the user must not use INFO, so restarts and failovers of Redis cannot be detected: grant +info"
	case err != nil:
		return m, err
	case infoField(text, "role") == "slave" && nodes == nil:
		return m, fmt.Errorf("rediskv: topology: %w", errReplica)
	default:
		m.server = digest(infoField(text, "master_replid"))
	}
	if nodes != nil {
		list, err := nodes.Result()
		if err != nil {
			return m, err
		}
		m.parseClusterNodes(list)
	}
	return m, nil
}

// parseClusterNodes reads the line of a node about itself from its reply to CLUSTER NODES:
//
//	ID ADDRESS FLAGS MASTER PING PONG EPOCH LINK SLOT...
//
// A slot is "7", "0-5460", or in brackets if it is migrating ("[7->-ID]") or being imported ("[7-<-ID]").
func (m *masterInfo) parseClusterNodes(list string) {
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !slices.Contains(strings.Split(fields[2], ","), "myself") || !strings.Contains(fields[2], "master") {
			continue
		}
		var slots []string
		for _, slot := range fields[8:] {
			if strings.HasPrefix(slot, "[") {
				m.reason = "a slot of the cluster is migrating"
				continue
			}
			slots = append(slots, slot)
		}
		if len(slots) > 0 || m.reason != "" {
			m.part, m.epoch, m.slots = fields[0], fields[6], strings.Join(slots, ",")
		}
	}
}

const hashSlots = 16384

// slotProblem checks that the masters' own views add up to all hash slots, each once. Otherwise a master was not asked,
// or masters disagree. It returns the problem, or an empty string.
func slotProblem(members []masterInfo) string {
	var owned [hashSlots]bool
	n := 0
	for _, m := range members {
		for slot := range strings.SplitSeq(m.slots, ",") {
			first, last, isRange := strings.Cut(slot, "-")
			from, err := strconv.Atoi(first)
			to := from
			if isRange && err == nil {
				to, err = strconv.Atoi(last)
			}
			if err != nil || from < 0 || to >= hashSlots {
				return "the cluster's slot map cannot be read"
			}
			for ; from <= to; from++ {
				if owned[from] {
					return "two masters of the cluster claim the same slot"
				}
				owned[from] = true
				n++
			}
		}
	}
	if n != hashSlots {
		return "not every slot of the cluster has a master"
	}
	return ""
}

// SweepPage implements kv.Sweeper. The cursor contains a digest of the server's replication id, so that a sweep does
// not continue at another server or after a restart.
func (s *Store) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	if s.closed.Load() {
		return nil, "", errClosed
	}
	if limit <= 0 {
		limit = kv.DefaultScanLimit
	}
	var pos uint64
	at, server, _ := strings.Cut(cursor, "@")
	if cursor != "" {
		var err error
		if pos, err = strconv.ParseUint(at, 10, 64); err != nil {
			return nil, "", errCursor
		}
	}
	found, err := callWithContext(ctx, s, "sweep", func() (page, error) {
		client, err := s.partClient(ctx, part)
		if err != nil {
			return page{}, err
		}
		keys, now, err := (&node{Cmdable: client}).scan(ctx, pos, globLiteral.Replace(prefix)+"*", int64(limit))
		switch {
		case err != nil:
			return page{}, err
		case cursor != "" && now.server != server:
			return page{}, errTopologyChanged
		case now.cursor == 0:
			return page{keys: keys}, nil
		}
		return page{keys, strconv.FormatUint(now.cursor, 10) + "@" + now.server}, nil
	})
	return found.keys, found.cursor, err
}

// partClient returns the client of a part. It asks for the topology first if the part is new to it.
func (s *Store) partClient(ctx context.Context, part string) (redis.Cmdable, error) {
	for range 2 {
		if known := s.parts.Load(); known != nil {
			if client, ok := (*known)[part]; ok {
				return client, nil
			}
		}
		if _, err := s.describeMasters(ctx); err != nil {
			return nil, MapError("sweep", err)
		}
	}
	return nil, errTopologyChanged
}
