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

// single names the only part of a store that is not a cluster.
const single = "redis"

// member is what one master says about itself.
type member struct {
	part   string
	client redis.Cmdable
	server string // digest of the replication id; empty if INFO is not permitted
	slots  string // of a cluster, as CLUSTER NODES writes them
	epoch  string // of a cluster: it grows when a slot comes to the master, also if it was away for a while only
	reason string // why its keys may be moving
}

// Topology implements kv.Sweeper. The parts are the masters that hold slots of a cluster, the shards of a Ring, or
// one server. Each master is asked for its replication id and for its own view of its slots in one round trip. If
// the user may not use INFO, a restart or a failover cannot be noticed and no topology is stable.
func (s *Store) Topology(ctx context.Context) (kv.Topology, error) {
	if s.closed.Load() {
		return kv.Topology{}, errClosed
	}
	members, err := bounded(ctx, s, "topology", func() ([]member, error) { return s.members(ctx) })
	if err != nil {
		return kv.Topology{}, mapError("topology", err)
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
		if topology.Reason = uncovered(members); topology.Reason != "" {
			topology.Stable = false
		}
	}
	topology.ID = digest(text.String())
	return topology, nil
}

// members asks every master, and remembers the clients of the parts for SweepPage.
func (s *Store) members(ctx context.Context) ([]member, error) {
	var mu sync.Mutex
	var all []member
	collect := func(ctx context.Context, c *redis.Client) error {
		m, err := ask(ctx, c, s.partOf(c))
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, m)
		return nil
	}
	if err := s.eachMaster(ctx, collect); err != nil {
		return nil, err
	}
	// A former master is still in the client's slot map for a moment, but holds nothing.
	all = slices.DeleteFunc(all, func(m member) bool { return m.part == "" })
	slices.SortFunc(all, func(a, b member) int { return cmp.Compare(a.part, b.part) })
	clients := make(map[string]redis.Cmdable, len(all))
	for _, m := range all {
		clients[m.part] = m.client
	}
	s.parts.Store(&clients)
	return all, nil
}

// eachMaster calls f with a client of each master, concurrently if there are several.
func (s *Store) eachMaster(ctx context.Context, f func(ctx context.Context, c *redis.Client) error) error {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f) // it loads the slot map first
	case *redis.Ring:
		return c.ForEachShard(ctx, f)
	case *redis.Client:
		_, err := onMaster(ctx, c, func() (struct{}, error) { return struct{}{}, f(ctx, c) })
		return err
	}
	return fmt.Errorf("a client of type %T has no list of its masters", s.client)
}

// partOf names the part of a client that is not a cluster's.
func (s *Store) partOf(c *redis.Client) string {
	switch s.client.(type) {
	case *redis.ClusterClient:
		return ""
	case *redis.Ring:
		return c.Options().Addr
	}
	return single
}

// ask returns what a server says about itself. The part of a cluster's master is its node id, and empty if it has
// no slots.
func ask(ctx context.Context, c *redis.Client, part string) (member, error) {
	m := member{part: part, client: c}
	pipe := c.Pipeline()
	info := pipe.Info(ctx, "replication")
	var nodes *redis.StringCmd
	if part == "" {
		nodes = pipe.ClusterNodes(ctx)
	}
	_, _ = pipe.Exec(ctx) // the commands have its errors
	text, err := info.Result()
	switch {
	case err != nil && untold(err):
		m.reason = "the user may not use INFO, so that a restart or a failover of Redis is not noticed: grant +info"
	case err != nil:
		return m, err
	case field(text, "role") == "slave" && nodes == nil:
		return m, fmt.Errorf("rediskv: topology: %w", errReplica)
	default:
		m.server = digest(field(text, "master_replid"))
	}
	if nodes != nil {
		list, err := nodes.Result()
		if err != nil {
			return m, err
		}
		m.view(list)
	}
	return m, nil
}

// view reads the line about itself in the answer of a node to CLUSTER NODES:
//
//	ID ADDRESS FLAGS MASTER PING PONG EPOCH LINK SLOT...
//
// A slot is "7", "0-5460", or in brackets if it migrates ("[7->-ID]") or is being imported ("[7-<-ID]").
func (m *member) view(list string) {
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

// uncovered reports whether the masters' own views do not add up to all hash slots, each once: then one of them is not
// asked, or they disagree.
func uncovered(members []member) string {
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

// SweepPage implements kv.Sweeper. The cursor is Redis' own and a digest of the replication id of the server that
// gave it, so that it does not continue at another server or after a restart.
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
	found, err := bounded(ctx, s, "sweep", func() (page, error) {
		client, err := s.clientOf(ctx, part)
		if err != nil {
			return page{}, err
		}
		keys, now, err := (&node{Cmdable: client}).scan(ctx, pos, globLiteral.Replace(prefix)+"*", int64(limit))
		switch {
		case err != nil:
			return page{}, err
		case cursor != "" && now.server != server:
			return page{}, errMoved
		case now.pos == 0:
			return page{keys: keys}, nil
		}
		return page{keys, strconv.FormatUint(now.pos, 10) + "@" + now.server}, nil
	})
	return found.keys, found.cursor, err
}

// clientOf returns the client of a part. It asks for the topology if the part is new.
func (s *Store) clientOf(ctx context.Context, part string) (redis.Cmdable, error) {
	for range 2 {
		if known := s.parts.Load(); known != nil {
			if client, ok := (*known)[part]; ok {
				return client, nil
			}
		}
		if _, err := s.members(ctx); err != nil {
			return nil, mapError("sweep", err)
		}
	}
	return nil, errMoved
}
