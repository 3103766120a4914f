package redistest

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	hashSlots      = 16384
	clusterTimeout = 5 * time.Minute
)

// Cluster is a running Redis Cluster.
type Cluster struct {
	Nodes  []*Node              // the initial masters; AddReplica appends
	Client *redis.ClusterClient // closed when the test ends

	t     testing.TB
	first *Node
}

// Node is a server of a Cluster.
type Node struct {
	*Server
	Client *redis.Client // a client of this node alone
	ID     string
	bus    string
}

// StartCluster runs n masters that share the hash slots, and returns a client that is closed when the test ends.
func StartCluster(t testing.TB, n int) *redis.ClusterClient {
	t.Helper()
	return NewCluster(t, n).Client
}

// NewCluster runs n masters that share the hash slots, and waits until each knows all others. They end with the test.
func NewCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	ctx := context.Background()
	c := &Cluster{t: t}
	addrs := make([]string, n)
	for i := range n {
		node := c.start()
		addrs[i] = node.Addr
		requireNoError(t, node.Client.ClusterAddSlotsRange(ctx, i*hashSlots/n, (i+1)*hashSlots/n-1).Err())
		// Each node needs its own epoch before it meets the others.
		requireNoError(t, node.Client.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		c.meet(node)
	}
	for _, node := range c.Nodes {
		waitForCluster(t, node.Client, n)
	}
	c.Client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ReadTimeout: ClientTimeout, WriteTimeout: ClientTimeout})
	t.Cleanup(func() { _ = c.Client.Close() })
	return c
}

func (c *Cluster) start() *Node {
	c.t.Helper()
	_, bus, _ := net.SplitHostPort(FreeAddr(c.t)) // the default bus port, port + 10000, may be too large
	server := Start(c.t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "5000", "--repl-diskless-sync-delay", "0")
	node := &Node{Server: server, Client: server.Client(c.t), bus: bus}
	node.ID = node.Client.ClusterMyID(context.Background()).Val()
	c.Nodes = append(c.Nodes, node)
	if c.first == nil {
		c.first = node
	}
	return node
}

func (c *Cluster) meet(node *Node) {
	c.t.Helper()
	host, port, _ := net.SplitHostPort(node.Addr)
	requireNoError(c.t, c.first.Client.Do(context.Background(), "cluster", "meet", host, port, node.bus).Err())
}

// AddReplica adds a replica of a master, and waits until it has the master's data.
func (c *Cluster) AddReplica(of *Node) *Node {
	c.t.Helper()
	replica := c.start()
	c.meet(replica)
	c.waitFor("the replica did not join", func(ctx context.Context) bool {
		return replica.Client.ClusterReplicate(ctx, of.ID).Err() == nil
	})
	c.waitFor("the replica did not come up", func(ctx context.Context) bool {
		return strings.Contains(replica.Client.Info(ctx, "replication").Val(), "master_link_status:up") &&
			strings.Contains(of.Client.ClusterNodes(ctx).Val(), replica.ID)
	})
	return replica
}

// FailOver promotes a replica to master, and waits until every node has noticed.
func (c *Cluster) FailOver(replica *Node) {
	c.t.Helper()
	c.waitFor("the replica did not take over", func(ctx context.Context) bool {
		if strings.Contains(replica.Client.Info(ctx, "replication").Val(), "role:master") {
			return true
		}
		_ = replica.Client.ClusterFailover(ctx).Err()
		return false
	})
	for _, node := range c.Nodes {
		c.waitFor("a node does not see the new master", func(ctx context.Context) bool {
			for line := range strings.Lines(node.Client.ClusterNodes(ctx).Val()) {
				if strings.HasPrefix(line, replica.ID) {
					return strings.Contains(line, "master") && strings.Contains(line, "-")
				}
			}
			return false
		})
	}
}

// BeginMigration marks a slot as migrating from one master to another.
func (c *Cluster) BeginMigration(slot int, from, to *Node) {
	c.t.Helper()
	ctx := context.Background()
	requireNoError(c.t, to.Client.Do(ctx, "cluster", "setslot", slot, "importing", from.ID).Err())
	requireNoError(c.t, from.Client.Do(ctx, "cluster", "setslot", slot, "migrating", to.ID).Err())
}

// EndMigration moves the keys of a migrating slot and then the slot.
func (c *Cluster) EndMigration(slot int, from, to *Node) {
	c.t.Helper()
	ctx := context.Background()
	host, port, _ := net.SplitHostPort(to.Addr)
	for {
		keys := from.Client.ClusterGetKeysInSlot(ctx, slot, 100).Val()
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			requireNoError(c.t, from.Client.Migrate(ctx, host, port, key, 0, clusterTimeout).Err())
		}
	}
	for _, node := range []*Node{to, from} {
		requireNoError(c.t, node.Client.Do(ctx, "cluster", "setslot", slot, "node", to.ID).Err())
	}
	c.waitFor("the slot's new owner is not known", func(ctx context.Context) bool {
		for _, node := range c.Nodes {
			if !ownsSlot(ctx, node.Client, slot, to.ID) {
				return false
			}
		}
		return true
	})
}

// ownsSlot reports whether a slot belongs to the node with an id, in the view of another node.
func ownsSlot(ctx context.Context, node *redis.Client, slot int, id string) bool {
	for _, shard := range node.ClusterShards(ctx).Val() {
		for _, r := range shard.Slots {
			if r.Start <= int64(slot) && int64(slot) <= r.End {
				return slices.ContainsFunc(shard.Nodes, func(n redis.Node) bool { return n.ID == id })
			}
		}
	}
	return false
}

func (c *Cluster) waitFor(failure string, done func(context.Context) bool) {
	c.t.Helper()
	for deadline := time.Now().Add(clusterTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done(context.Background()) {
			return
		}
	}
	c.t.Fatal("redistest: " + failure)
}

func waitForCluster(t testing.TB, node *redis.Client, n int) {
	t.Helper()
	for deadline := time.Now().Add(clusterTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		info := node.ClusterInfo(context.Background()).Val()
		if strings.Contains(info, "cluster_state:ok") &&
			strings.Contains(info, "cluster_slots_ok:"+strconv.Itoa(hashSlots)) &&
			strings.Contains(info, "cluster_size:"+strconv.Itoa(n)) {
			return
		}
	}
	t.Fatal("redistest: the cluster did not come up")
}

func requireNoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
}
